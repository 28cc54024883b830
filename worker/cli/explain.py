"""``explain``: why something has not moved."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Final
from uuid import UUID

import typer

from schemas.ids import DeadLetterId, InputId, RuntimeId
from schemas.records import InputRecord, StoredRuntime
from store.dead_letters import LetterFilter
from store.sql import SqlStore
from worker.broker.connection import Connection
from worker.broker.errors import BrokerError
from worker.broker.inspect import queue_facts
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
from worker.driver.explain import Surroundings, explain_input
from worker.driver.explain import explain as explain_runtime
from worker.exits import ExitCode
from worker.settings import Settings

app = noun("explain")

_LETTERS: Final = 1000
"""How many of a runtime's latest dead letters are searched for the input's."""


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
    seen, unseen = await _seen(settings, runtime_id)
    now = datetime.now(UTC)
    async with opened(settings) as store:
        stored = await store.read(runtime_id)
        if stored is None:
            inbox = f"; {seen.inbox_depth} messages wait in its inbox" if seen.inbox_depth else ""
            raise Failure(ExitCode.NOT_FOUND, f"no runtime {runtime_id} in the store{inbox}")
        details = await store.queries.runtime(runtime_id)
        around = replace(seen, owner=details.owner if details else None)
        if input_id is None:
            return [*explain_runtime(stored, now=now, around=around), *unseen]
        record = await _record(store, stored, input_id)
        around = replace(around, dead_letter=await _letter(store, runtime_id, input_id))
        return [*explain_input(stored, record, now=now, around=around), *unseen]


async def _seen(settings: Settings, runtime_id: RuntimeId) -> tuple[Surroundings, list[str]]:
    """Ask the broker; one that cannot be asked is itself an explanation."""
    topology = Topology(settings.namespace, Layout.parse(settings.layout))
    nothing = Surroundings(pool=settings.pool)
    try:
        connection = await Connection.open(settings.amqp_url, f"{PROGRAM} explain")
        try:
            inbox = await queue_facts(connection, topology.queue_of(runtime_id))
            pool = await queue_facts(connection, topology.pool_queue(settings.pool))
        finally:
            await connection.close()
    except BrokerError as error:
        return nothing, [f"The broker could not be asked: {error}."]
    return (
        replace(
            nothing,
            inbox_consumers=inbox.consumers if inbox else 0,
            inbox_depth=inbox.ready if inbox else 0,
            pool_consumers=pool.consumers if pool else 0,
            pool_depth=pool.ready if pool else 0,
        ),
        [],
    )


async def _record(store: SqlStore, stored: StoredRuntime, input_id: InputId) -> InputRecord | None:
    for record in stored.inputs:
        if record.input_id == input_id:
            return record
    found = await store.queries.input(stored.runtime.runtime_id, input_id)
    return found.record if found else None


async def _letter(store: SqlStore, runtime_id: RuntimeId, input_id: InputId) -> DeadLetterId | None:
    wanted = LetterFilter(status=None, runtime_id=runtime_id)
    letters = await store.dead_letters.letters(wanted, limit=_LETTERS)
    named = (letter.id for letter in letters.items if letter.message_id == str(input_id))
    return next(named, None)
