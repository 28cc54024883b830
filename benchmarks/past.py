"""A long past: inputs that a runtime has been through, made directly in the store.

One prompt goes through a real driver and a real commit; its row is then multiplied by the
database itself, with ids that are older than any new one, as the ids of past inputs are.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import text

from benchmarks.messages import prompts
from schemas.envelope import InputMessage, decode_stored_input
from schemas.ids import RuntimeId
from store.ports import Commit
from store.sql import SqlStore
from store.tables import inputs
from worker.broker.topology import Topology
from worker.clock import now
from worker.driver.arrival import Arrival
from worker.driver.options import DriverOptions
from worker.driver.recovery import recover

_MULTIPLIED: Final = ("input_id", "sequence", "state", "active", "outcome")
_NUMBERS: Final = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :past)",
    "postgresql": "WITH n(i) AS (SELECT generate_series(1, :past))",
}
_IDS: Final = {
    "sqlite": "printf('01%06x-0000-7000-8000-%012x', i, i)",
    "postgresql": "CAST('01' || lpad(to_hex(i), 6, '0') || '-0000-7000-8000-' "
    "|| lpad(to_hex(i), 12, '0') AS uuid)",
}


async def give_past(store: SqlStore, runtime: RuntimeId, past: int) -> None:
    """Give a new runtime so many consumed inputs."""
    await give_waiting(store, runtime, 1)
    dialect = store.database.dialect.name
    kept = ", ".join(str(c.name) for c in inputs.c if c.name not in _MULTIPLIED)
    multiply = f"""
        INSERT INTO inputs ({", ".join(_MULTIPLIED)}, {kept})
        {_NUMBERS[dialect]}
        SELECT {_IDS[dialect]}, i, 'consumed', :no, '{{"outcome_type":"consumed"}}', {kept}
        FROM n, (SELECT * FROM inputs WHERE active) AS one
    """  # noqa: S608 - the names are the table's own
    async with store.database.writing() as connection:
        await connection.execute(text(multiply), {"past": past, "no": False})
        await connection.execute(text("DELETE FROM inputs WHERE active"))
        await connection.execute(text("UPDATE runtimes SET next_sequence = :n"), {"n": past + 1})
    async with store.database.writing() as connection:
        await connection.execute(text("ANALYZE"))


async def give_waiting(store: SqlStore, runtime: RuntimeId, number: int) -> None:
    """Give a runtime so many inputs that wait, as its worker would have."""
    stored = await store.activate(runtime, owner="benchmark", now=now())
    driver = recover(stored, now=now(), options=DriverOptions()).driver
    bodies = [one.body for one in prompts(Topology("past"), [runtime], number)]
    for body in bodies:
        driver.apply(InputMessage(runtime, decode_stored_input(body)), Arrival(now=now()))
    changes = driver.take()
    ids = [record.input_id for record in changes.inserted]
    payloads = dict(zip(ids, bodies, strict=True))
    await store.commit([Commit(runtime, stored.runtime.epoch, changes, payloads=payloads)])
