"""Publish a prompt, and the same one again: a retry is never a second input."""

import asyncio
import os

from worker.client import Client, Prompt

URL = os.environ.get("MEERKAT_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/")
NAMESPACE = os.environ.get("MEERKAT_NAMESPACE", "meerkat")


async def main() -> None:
    """Publish it twice."""
    async with Client(URL, namespace=NAMESPACE) as client:
        prompt = Prompt("What is new?")
        await client.publish("assistant-1", prompt)
        print("published", await client.publish("assistant-1", prompt))


asyncio.run(main())
