"""A shell in memory: a driver, the store that it is rebuilt from, and a clock that is told."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from schemas.ids import RunId
from schemas.lifecycle import RuntimeState
from schemas.outcomes import NothingToRun, Outcome, RunStart
from schemas.records import Changes, Known, RuntimeRecord
from tests.property.senders import RUNTIME, START, Mail
from tests.property.store import Store
from worker.driver.arrival import Arrival
from worker.driver.driver import Driver
from worker.driver.options import DriverOptions
from worker.driver.recovery import Recovered, recover

JITTER = 0.5


class Shell:
    """What a worker does for one runtime, without a broker and without a database."""

    def __init__(self, options: DriverOptions, state: RuntimeState = RuntimeState.IDLE) -> None:
        self.options = options
        self.now = START
        self.store = Store(RuntimeRecord(RUNTIME, state, 1, START, START))
        self.driver = Driver.fresh(self.store.runtime, options)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)

    def until(self, moment: datetime) -> None:
        """Let time pass up to a moment."""
        self.now = max(self.now, moment)

    def known(self, mails: Sequence[Mail]) -> Known:
        """Look up, once, all that a batch of messages names."""
        return self.store.known(mail.message for mail in mails)

    def deliver(self, mail: Mail, known: Known) -> Outcome:
        """Apply one message."""
        return self.driver.apply(mail.message, Arrival(self.now, known, JITTER, mail.reply))

    def start(self, run_id: RunId, *, forced: bool = False) -> RunStart | NothingToRun:
        """Begin a run if there is one to begin."""
        return self.driver.start_run(run_id, now=self.now, forced=forced)

    def commit(self) -> Changes:
        """Store what the driver took."""
        changes = self.driver.take()
        self.store.commit(changes)
        return changes

    def activate(self, *, adopt: bool = True) -> Recovered:
        """Drop the driver, as a crash or a passivation does, and recover one from the store."""
        recovered = recover(
            self.store.activate(),
            now=self.now,
            options=self.options,
            adopt_live_runs=adopt,
        )
        self.driver = recovered.driver
        return recovered
