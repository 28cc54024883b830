"""A publisher's trace context goes on to the run and to the completion."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import msgspec
from aiormq.abc import DeliveredMessage

from tests.support.deployment import Deployment
from tests.support.eventually import eventually
from worker.broker.link import Link
from worker.broker.publisher import Outgoing, Publisher
from worker.client import Prompt

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def test_the_trace_context_of_an_input_is_that_of_its_run_and_its_completion(
    deployment: Deployment,
) -> None:
    got: asyncio.Queue[DeliveredMessage] = asyncio.Queue()
    async with deployment.client() as client, deployment.worker(), deployment.executor():
        await client.request("ada", Prompt("first"), timeout=60)
        async with Link(deployment.amqp_url, "test") as link, Publisher(link) as publisher:
            channel = await (await link.ready()).channel()
            mine = await channel.queue_declare(exclusive=True)
            requests = await channel.queue_declare(exclusive=True)
            namespace = deployment.namespace
            await channel.queue_bind(requests.queue or "", f"{namespace}.runs", "default")
            for queue in (mine.queue, requests.queue):
                await channel.basic_consume(queue or "", got.put, no_ack=True)
            input_id = str(uuid4())
            header = {"id": input_id, "source": {"type": "operator"}}
            body = {"input_type": "prompt", "header": header, "text": "traced"}
            properties = {
                "message_id": input_id,
                "type": "input",
                "reply_to": mine.queue,
                "headers": {"traceparent": TRACE},
            }
            await publisher.publish(
                Outgoing(f"{namespace}.inbox", "ada", msgspec.json.encode(body), properties)
            )
            await eventually(lambda: got.qsize() == 2, 60, "a run request and a completion")
    messages = [got.get_nowait(), got.get_nowait()]
    told = {
        one.header.properties.message_type: (one.header.properties.headers or {})["traceparent"]
        for one in messages
    }
    assert told == {"run_request": TRACE, "completion": TRACE}
