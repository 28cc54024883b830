"""``events``: what happens to runtimes, as it happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Final

import msgspec
import typer
from aiormq.abc import DeliveredMessage

from schemas.envelope import Envelope, decode_runtime_event
from schemas.errors import MalformedError
from schemas.events import RuntimeEventEnvelope, event_code
from worker.broker.connection import Connection
from worker.broker.errors import BrokerUnavailableError, translated
from worker.broker.topology import Layout, Topology
from worker.cli.options import BROKER, Json, runtime_id_of, settings_flags
from worker.cli.output import json_line, text
from worker.cli.root import COMMANDS, PROGRAM, noun
from worker.settings import Settings
from worker.terminal import line

app = noun("events")

_ANY: Final = "*.*"
"""Every event code has two words: ``input.accepted``, ``run.failed``, ..."""


@app.callback(help=COMMANDS["events"])
def events() -> None:
    """Make a group of what is one command today."""


@app.command()
@settings_flags(*BROKER)
def tail(
    *,
    runtime: Annotated[str | None, typer.Option("--runtime", help="Of this runtime only.")] = None,
    code: Annotated[
        str, typer.Option("--code", help="Of this code only: run.failed, input.*, ...")
    ] = _ANY,
    limit: Annotated[int, typer.Option("--limit", min=0, help="End after so many; 0: never.")] = 0,
    as_json: Json = False,
    settings: Settings,
) -> None:
    """Watch events as workers publish them, until Ctrl-C.

    Shows what happens from now on. Events are published after the commit and are not kept: for
    what has happened, see runtimes show.

    Example:  meerkat-worker events tail --runtime agent-7

    Example:  meerkat-worker events tail --code run.failed --json
    """
    pattern = f"{code}.{runtime_id_of(runtime) if runtime else '#'}"
    asyncio.run(_tail(settings, pattern, limit, as_json=as_json))


async def _tail(settings: Settings, pattern: str, limit: int, *, as_json: bool) -> None:
    topology = Topology(settings.namespace, Layout.parse(settings.layout))
    connection = await Connection.open(settings.amqp_url, f"{PROGRAM} events tail")
    shown = 0
    try:
        async for event in _events(connection, topology.events, pattern):
            _show(event, as_json=as_json)
            shown += 1
            if shown == limit:
                return
    finally:
        await connection.close()


async def _events(
    connection: Connection, exchange: str, pattern: str
) -> AsyncIterator[RuntimeEventEnvelope]:
    """Bind a queue of our own, gone with the connection, and read it."""
    arrived: asyncio.Queue[DeliveredMessage | None] = asyncio.Queue()

    async def arrive(message: DeliveredMessage) -> None:
        arrived.put_nowait(message)

    channel = await connection.channel()
    with translated(f"cannot watch exchange {exchange}"):
        declared = await channel.queue_declare("", exclusive=True, auto_delete=True)
        queue = str(declared.queue)
        await channel.queue_bind(queue, exchange, pattern)
        await channel.basic_consume(queue, arrive, no_ack=True)
    connection.on_lost(lambda: arrived.put_nowait(None))
    while (message := await arrived.get()) is not None:
        event = _decoded(message)
        if event is not None:
            yield event
    raise BrokerUnavailableError(f"RabbitMQ at {connection.address}: the connection was lost")


def _decoded(message: DeliveredMessage) -> RuntimeEventEnvelope | None:
    """Anybody may publish to the exchange; what is no event is passed over."""
    try:
        return decode_runtime_event(Envelope(message.routing_key or "", message.body))
    except MalformedError:
        return None


def _show(event: RuntimeEventEnvelope, *, as_json: bool) -> None:
    if as_json:
        json_line(event)
        return
    data = msgspec.to_builtins(event.event.data)
    words = " ".join(f"{name}={value}" for name, value in data.items() if name != "code")
    at = event.timestamp.isoformat(timespec="milliseconds")
    text(line(f"{at} {event.runtime_id} {event_code(event.event)} {words}"))
