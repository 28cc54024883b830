"""``explain``: why something has not moved."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import typer

from schemas.ids import InputId, RuntimeId
from worker.broker.connection import Connection
from worker.broker.errors import BrokerError
from worker.broker.topology import Layout, Topology
from worker.cli.faults import Failure
from worker.cli.options import (
    BROKER,
    STORE,
    Json,
    RuntimeIdArgument,
    runtime_id_of,
    settings_flags,
)
from worker.cli.output import json_line, text
from worker.cli.reading import opened
from worker.cli.root import PROGRAM, noun
from worker.driver.explain import Surroundings
from worker.exits import ExitCode
from worker.explanation import explained, seen
from worker.settings import Settings

app = noun("explain")


@app.command()
@settings_flags(*STORE, *BROKER, "pool")
def explain(
    runtime_id: RuntimeIdArgument,
    input_id: Annotated[
        UUID | None,
        typer.Argument(metavar="INPUT", help="One of its inputs.", show_default=False),
    ] = None,
    *,
    as_json: Json = False,
    settings: Settings,
) -> None:
    """Say in plain words why a runtime, or one of its inputs, has not moved.

    Reads the store, and asks the broker who consumes the inbox and the pool. Changes nothing.

    Example:  meerkat-worker explain agent-7

    Example:  meerkat-worker explain agent-7 01890a5d-ac96-774b-bcce-b302099a8057
    """
    sentences = asyncio.run(_explained(settings, runtime_id_of(runtime_id), input_id))
    if as_json:
        json_line({"runtime_id": runtime_id, "input_id": input_id, "sentences": sentences})
    else:
        text("\n".join(sentences))


async def _explained(
    settings: Settings, runtime_id: RuntimeId, input_id: InputId | None
) -> list[str]:
    around, unseen = await _seen(settings, runtime_id)
    now = datetime.now(UTC)
    async with opened(settings) as store:
        sentences = await explained(store, runtime_id, input_id, around=around, now=now)
    if sentences is None:
        inbox = f"; {around.inbox_depth} messages wait in its inbox" if around.inbox_depth else ""
        raise Failure(ExitCode.NOT_FOUND, f"no runtime {runtime_id} in the store{inbox}")
    return [*sentences, *unseen]


async def _seen(settings: Settings, runtime_id: RuntimeId) -> tuple[Surroundings, list[str]]:
    """Ask the broker; one that cannot be asked is itself an explanation."""
    topology = Topology(settings.namespace, Layout.parse(settings.layout))
    try:
        connection = await Connection.open(settings.amqp_url, f"{PROGRAM} explain")
        try:
            return await seen(connection, topology, settings.pool, runtime_id), []
        finally:
            await connection.close()
    except BrokerError as error:
        nothing = Surroundings(pool=settings.pool)
        return nothing, [f"The broker could not be asked: {error}."]
