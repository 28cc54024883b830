"""The driver: the pure state machine of one runtime, as the shell sees it."""

from __future__ import annotations

from datetime import datetime
from typing import assert_never

from schemas.envelope import CommandMessage, InputMessage, Message, RunEventMessage
from schemas.ids import InputId, RunId
from schemas.lifecycle import Lane
from schemas.outcomes import NothingToRun, Outcome, RunStart
from schemas.records import Changes, InputRecord, RunRecord, RuntimeRecord, StoredRuntime
from worker.driver import admission, control, runs
from worker.driver.arrival import Arrival
from worker.driver.ledger import Ledger
from worker.driver.options import DriverOptions


class Driver:
    """The state machine of one runtime.

    Give it messages in the order of the broker; after one or many, take the changes and commit
    them. It is a cache: when a commit fails it is dropped, and recovered from the store.
    """

    __slots__ = ("_ledger",)

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    @classmethod
    def fresh(cls, runtime: RuntimeRecord, options: DriverOptions) -> Driver:
        """Make the driver of a runtime that has no inputs yet."""
        return cls(Ledger(runtime, options))

    @property
    def runtime(self) -> RuntimeRecord:
        """The runtime's record as it is now."""
        return self._ledger.runtime

    @property
    def run(self) -> RunRecord | None:
        """The current run."""
        return self._ledger.run

    @property
    def asked_to_wake(self) -> bool:
        """Whether the last message, or recovery, asked for the runtime to be woken."""
        return self._ledger.asked_to_wake

    def apply(self, message: Message, arrival: Arrival) -> Outcome:
        """Take in one message, and answer what became of it."""
        self._ledger.asked_to_wake = False
        outcome = self._applied(message, arrival)
        self._ledger.settle(arrival.now)
        return outcome

    def _applied(self, message: Message, arrival: Arrival) -> Outcome:
        match message:
            case InputMessage():
                return admission.admit(self._ledger, message.input, arrival)
            case RunEventMessage():
                return runs.hear(self._ledger, message.event, arrival)
            case CommandMessage():
                return control.answer(self._ledger, message.command, arrival)
            case _:
                assert_never(message)

    def wants_run(self, now: datetime) -> bool:
        """Tell whether ``start_run`` would begin a run now."""
        return runs.may_start(self._ledger, now)

    def start_run(
        self, run_id: RunId, *, now: datetime, forced: bool = False
    ) -> RunStart | NothingToRun:
        """Begin a run over the next batch, if it is time for one.

        Args:
            run_id: A new id.
            now: The moment.
            forced: Begin even if the runtime was not woken, is paused, or backs off.
        """
        self._ledger.asked_to_wake = False
        if not forced and not self.wants_run(now):
            return NothingToRun()
        return runs.start(self._ledger, run_id, now)

    def take(self) -> Changes:
        """Hand over what is to be committed, and forget what has ended: the store knows it now."""
        return self._ledger.take()

    def stored(self) -> StoredRuntime:
        """Tell what a store that holds all changes would hand to recovery."""
        return self._ledger.stored()

    def active_inputs(self) -> list[InputRecord]:
        """List the inputs that have not ended, in admission order."""
        return list(self._ledger.active.values())

    def waiting(self, lane: Lane) -> list[InputId]:
        """List the ids that wait in a lane, in order."""
        lanes = self._ledger.lanes
        return list(lanes.steer if lane is Lane.STEER else lanes.queue)

    def find(self, input_id: InputId) -> InputRecord | None:
        """Find an input that is active, or that ended since the changes were last taken."""
        return self._ledger.find(input_id)
