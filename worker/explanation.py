"""Explanation: what is to be seen around a runtime, gathered, so that it can be explained."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Final

from schemas.ids import DeadLetterId, InputId, RuntimeId
from schemas.records import InputRecord, StoredRuntime
from store.dead_letters import LetterFilter
from store.sql import SqlStore
from worker.broker.connection import Connection
from worker.broker.inspect import queue_facts
from worker.broker.topology import Topology
from worker.driver.explain import Surroundings, explain, explain_input

_LETTERS: Final = 1000
"""How many of a runtime's latest dead letters are searched for the input's."""


async def seen(
    connection: Connection, topology: Topology, pool: str, runtime_id: RuntimeId
) -> Surroundings:
    """Ask the broker who consumes a runtime's inbox and its pool, and what waits there.

    Raises:
        BrokerUnavailableError: The connection was lost.
    """
    inbox = await queue_facts(connection, topology.queue_of(runtime_id))
    requests = await queue_facts(connection, topology.pool_queue(pool))
    return Surroundings(
        pool=pool,
        inbox_consumers=inbox.consumers if inbox else 0,
        inbox_depth=inbox.ready if inbox else 0,
        pool_consumers=requests.consumers if requests else 0,
        pool_depth=requests.ready if requests else 0,
    )


async def explained(
    store: SqlStore,
    runtime_id: RuntimeId,
    input_id: InputId | None,
    *,
    around: Surroundings,
    now: datetime,
) -> list[str] | None:
    """Say why a runtime, or one of its inputs, stands where it stands; None if it is not there."""
    stored = await store.read(runtime_id)
    if stored is None:
        return None
    details = await store.queries.runtime(runtime_id)
    around = replace(around, owner=details.owner if details else None)
    if input_id is None:
        return explain(stored, now=now, around=around)
    record = await _record(store, stored, input_id)
    around = replace(around, dead_letter=await _letter(store, runtime_id, input_id))
    return explain_input(stored, record, now=now, around=around)


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
