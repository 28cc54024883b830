"""A database that some work was done in, made by the driver and the store themselves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec

from schemas.dead_letters import DeadLetter, DeadLetterReason
from schemas.envelope import InputMessage, RunEventMessage
from schemas.ids import RuntimeId
from schemas.inputs import Input
from schemas.runs import Boundary, BoundaryApplied, Receipt, RunCompleted, RunEvent, RunStarted
from store.open import open_store
from store.ports import Commit
from worker.client import ExternalEvent, Prompt
from worker.driver.arrival import Arrival
from worker.driver.driver import Driver
from worker.driver.options import DriverOptions
from worker.driver.recovery import recover

HOSTILE = '\x1b]0;owned\x07<script>"password": x'
SECRET = "hunter2"
BODY = b'{"input_type": "prompt", "password": "hunter2", "text": "\\u001b[2J"}'
MALFORMED = b"\xff\x00" + BODY
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Place:
    """What is in the database, by its names.

    ``agent-1`` has consumed ``done``, runs ``running`` and has ``waiting`` in its lane; ``agent-2``
    is idle. ``letters`` are a malformed body, twice alike, and a conflict of ``agent-1``.
    """

    url: str
    done: UUID
    running: UUID
    waiting: UUID
    run: UUID
    letters: tuple[UUID, ...]


async def furnished(url: str) -> Place:
    """Do some work in a migrated database."""
    drafts = [
        Prompt("first", key="k-1", timestamp=NOW),
        ExternalEvent(HOSTILE, {"password": SECRET, "body": HOSTILE}, timestamp=NOW),
        Prompt("last", timestamp=NOW),
    ]
    done, running, waiting = (draft.to_input() for draft in drafts)
    store = await open_store(url)
    try:
        agent = RuntimeId("agent-1")
        stored = await store.activate(agent, owner="worker-1", now=NOW)
        driver = recover(stored, now=NOW, options=DriverOptions()).driver
        payloads = {item.header.id: msgspec.json.encode(item) for item in (done, running, waiting)}
        run = _drive(driver, agent, done, running, waiting)
        letters = tuple(_letters())
        part = Commit(agent, 1, driver.take(), payloads, dead_letters=letters[2:])
        assert {each.value for each in await store.commit([part])} == {"committed"}
        await store.commit([Commit(None, 0, dead_letters=letters[:2])])
        await store.activate(RuntimeId("agent-2"), owner="worker-2", now=NOW)
    finally:
        await store.close()
    done_id, running_id, waiting_id = payloads
    return Place(url, done_id, running_id, waiting_id, run, tuple(letter.id for letter in letters))


def _drive(driver: Driver, agent: RuntimeId, *items: Input) -> UUID:
    """One input to its end, the second one into a run, the third behind it."""
    moment = NOW
    for number, item in enumerate(items, start=1):
        driver.apply(InputMessage(agent, item), Arrival(moment))
        run = UUID(int=number)
        driver.start_run(run, now=moment, forced=True)
        moment += timedelta(seconds=1)
        if number == 1:
            for event in _performed(run, item.header.id):
                driver.apply(RunEventMessage(agent, UUID(int=0), event), Arrival(moment))
    return UUID(int=2)


def _performed(run: UUID, input_id: UUID) -> list[RunEvent]:
    receipt = Receipt(run, Boundary.RUN_START, (input_id,), 1, 0)
    return [RunStarted(run), BoundaryApplied(run, receipt), RunCompleted(run, (input_id,))]


def _letters() -> list[DeadLetter]:
    reasons = [DeadLetterReason.MALFORMED, DeadLetterReason.MALFORMED, DeadLetterReason.CONFLICT]
    return [
        DeadLetter(
            id=UUID(int=100 + number),
            runtime_id=RuntimeId("agent-1") if reason is DeadLetterReason.CONFLICT else None,
            source_queue="meerkat.inbox.agent-1",
            message_id=str(UUID(int=7)),
            type=HOSTILE,
            properties={"headers": {"authorization": SECRET, "trace": HOSTILE}},
            body=MALFORMED if number == 0 else BODY + bytes([number]),
            reason=reason,
            detail=f"$.text: expected str {HOSTILE}",
            at=NOW + timedelta(minutes=number),
        )
        for number, reason in enumerate(reasons)
    ]
