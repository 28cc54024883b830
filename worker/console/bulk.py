"""Bulk acts: what is done to many letters at once, in the background, for a page to watch."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from store.errors import StoreError
from worker.logger import Logger

KEPT: Final = 50
"""How many acts that are over can still be looked at."""

log = Logger(__name__)

Tally = Mapping[str, int]
"""How many letters came to what, so far."""


class Verb(enum.StrEnum):
    """What can be done to many letters."""

    REDRIVE = "redrive"
    DISCARD = "discard"


class Stage(enum.StrEnum):
    """How far a bulk act is."""

    GOING = "going"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(slots=True)
class BulkAct:
    """One act over many letters.

    Attributes:
        id: Its id.
        verb: What is done.
        total: How many letters it is about.
        who: Who does it.
        back: The address of the page that shows those letters.
        began_at: When.
        ended_at: When it was over.
        stage: How far it is.
        tally: What the letters came to.
        fault: Why it failed.
    """

    id: UUID
    verb: Verb
    total: int
    who: str
    back: str
    began_at: datetime
    ended_at: datetime | None = None
    stage: Stage = Stage.GOING
    tally: Tally = field(default_factory=dict)
    fault: str | None = None

    @property
    def done(self) -> int:
        """How many letters were looked at."""
        return sum(self.tally.values())


class BulkActs:
    """The bulk acts of this process. Each is many small transactions: it may end anywhere."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._acts: dict[UUID, BulkAct] = {}
        self._tasks: dict[UUID, asyncio.Task[None]] = {}

    def begin(self, act: BulkAct, work: AsyncIterator[Tally]) -> None:
        """Do an act's work, noting each tally that it tells."""
        self._forget()
        self._acts[act.id] = act
        task = asyncio.create_task(self._do(act, work), name=f"{act.verb} {act.id}")
        self._tasks[act.id] = task
        task.add_done_callback(lambda _task: self._over(act))

    def get(self, act_id: UUID) -> BulkAct | None:
        """Find an act; None if it is long over, or of another process."""
        return self._acts.get(act_id)

    @property
    def going(self) -> list[BulkAct]:
        """The acts under way, the first one first."""
        return [act for act in self._acts.values() if act.stage is Stage.GOING]

    def stop(self, act_id: UUID) -> None:
        """End an act where it is; what it has done stays done."""
        task = self._tasks.get(act_id)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        """End all acts where they are."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _do(self, act: BulkAct, work: AsyncIterator[Tally]) -> None:
        try:
            async for act.tally in work:
                pass
            act.stage = Stage.DONE
        except StoreError as error:
            act.stage, act.fault = Stage.FAILED, str(error)
        except Exception as error:  # the top of this actor: its page says so, the others go on
            act.stage, act.fault = Stage.FAILED, f"unexpected {type(error).__name__}"
            log.exception("console.act_failed", verb=act.verb)

    def _over(self, act: BulkAct) -> None:
        """Note the end, however it came: a task that is cancelled early never runs at all."""
        if act.stage is Stage.GOING:
            act.stage = Stage.STOPPED
        act.ended_at = self._clock()
        self._tasks.pop(act.id, None)
        log.info("console.act", verb=act.verb, who=act.who, stage=act.stage, **act.tally)

    def _forget(self) -> None:
        over = [act.id for act in self._acts.values() if act.stage is not Stage.GOING]
        for act_id in over[: max(0, len(over) - KEPT + 1)]:
            del self._acts[act_id]
