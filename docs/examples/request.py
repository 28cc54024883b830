"""Publish a prompt and wait for its outcome; then tell the runtime to take no more."""

import asyncio
import os

from worker.client import Client, Prompt, Retire

URL = os.environ.get("MEERKAT_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/")
NAMESPACE = os.environ.get("MEERKAT_NAMESPACE", "meerkat")


async def main() -> None:
    """Ask, then tell."""
    async with Client(URL, namespace=NAMESPACE) as client:
        outcome = await client.request("assistant-2", Prompt("hello"), timeout=30)
        print("outcome", outcome)
        report = await client.command("assistant-2", Retire(), timeout=30)
        print("report", report.outcome)


asyncio.run(main())
