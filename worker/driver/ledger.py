"""The ledger: what a driver holds in memory, and the only place where it is changed."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec.structs import replace

from schemas.events import (
    InputLifecycle,
    InputLifecycleEvent,
    RunLifecycle,
    RunLifecycleEvent,
    RuntimeStateChange,
    StateChanged,
    Topology,
    TopologyEvent,
)
from schemas.ids import CommandId, InputId, RunId
from schemas.lifecycle import InputState, RunState
from schemas.outcomes import CompletionOutcome, Refused, Report
from schemas.records import (
    Announce,
    Changes,
    Complete,
    HistoryEntry,
    InputRecord,
    ReplyTo,
    RunRecord,
    RuntimeRecord,
    StoredRuntime,
    TimerKind,
)
from worker.driver import runtime_table
from worker.driver.input_table import InputEvent, next_state
from worker.driver.lanes import Lanes
from worker.driver.options import DriverOptions
from worker.driver.pending import Pending, durable
from worker.driver.runtime_table import ControlEvent


class Ledger:
    """The state of one runtime: its record, its current run, its active inputs in their lanes.

    Rows are frozen and replaced; every replacement is recorded in ``pending``. What has ended is
    remembered until the changes are taken: from then on the store knows it.

    Attributes:
        active: Inputs that have not ended, in admission order.
        ended: Inputs that ended since the changes were last taken.
        ended_runs: Runs that ended since then.
        answered: Commands that were answered since then.
        dedupe_only: Stored inputs of unknown origin: they hold their ids, and are never run.
        asked_to_wake: Whether the message at hand asked for the runtime to be woken.
    """

    __slots__ = (
        "_keys",
        "active",
        "answered",
        "asked_to_wake",
        "dedupe_only",
        "ended",
        "ended_runs",
        "lanes",
        "options",
        "pending",
        "run",
        "runtime",
    )

    def __init__(
        self, runtime: RuntimeRecord, options: DriverOptions, run: RunRecord | None = None
    ) -> None:
        self.runtime = runtime
        self.options = options
        self.run = run
        self.lanes = Lanes()
        self.active: dict[InputId, InputRecord] = {}
        self.ended: dict[InputId, InputRecord] = {}
        self.ended_runs: dict[RunId, RunState] = {}
        self.answered: dict[CommandId, Report | Refused] = {}
        self.dedupe_only: dict[InputId, InputRecord] = {}
        self.asked_to_wake = False
        self.pending = Pending()
        self._keys: dict[str, InputId] = {}

    # --- reading ---------------------------------------------------------------------------------

    def find(self, input_id: InputId) -> InputRecord | None:
        """Find an input by its id, as far as the ledger knows it."""
        return (
            self.active.get(input_id) or self.ended.get(input_id) or self.dedupe_only.get(input_id)
        )

    def find_by_key(self, key: str) -> InputRecord | None:
        """Find an input by its idempotency key, as far as the ledger knows it."""
        input_id = self._keys.get(key)
        return None if input_id is None else self.find(input_id)

    def batch(self) -> list[InputRecord]:
        """List the inputs of the current run, in order; those lost to quarantine are left out."""
        ids = () if self.run is None else self.run.batch
        return [self.active[input_id] for input_id in ids if input_id in self.active]

    def stored(self) -> StoredRuntime:
        """Tell what a store that holds all changes would hand to recovery."""
        applied = InputState.APPLIED_PENDING_CONSUMPTION
        return StoredRuntime(
            runtime=durable(self.runtime),
            inputs=(*self.dedupe_only.values(), *self.active.values()),
            run=self.run,
            receipts=frozenset(
                (record.last_run_id, record.last_boundary_sequence)
                for record in self.batch()
                if record.state is applied
                and record.last_run_id is not None
                and record.last_boundary_sequence is not None
            ),
        )

    # --- inputs ----------------------------------------------------------------------------------

    def admit(self, record: InputRecord) -> None:
        """Enter a new input."""
        self.pending.insert(record)
        self._keep(record)

    def load(self, record: InputRecord) -> None:
        """Enter a stored input; it is in no lane yet."""
        self._keep(record)

    def hold_id(self, record: InputRecord) -> None:
        """Know a stored input for dedupe only."""
        self.dedupe_only[record.input_id] = record
        self._hold_key(record)

    def move(
        self,
        record: InputRecord,
        event: InputEvent,
        now: datetime,
        *,
        reason: str | None = None,
        **fields: Any,  # noqa: ANN401 - fields of the record
    ) -> InputRecord:
        """Let something happen to an input that is in no lane.

        Raises:
            IllegalEventError: The input table refuses it.
        """
        target = next_state(record.state, event)
        entry = HistoryEntry(now, record.state, target, reason)
        moved = replace(
            record, state=target, updated_at=now, history=(*record.history, entry), **fields
        )
        self.put(moved)
        return moved

    def pull(
        self,
        record: InputRecord,
        event: InputEvent,
        now: datetime,
        *,
        reason: str | None = None,
        **fields: Any,  # noqa: ANN401 - fields of the record
    ) -> InputRecord:
        """Let something happen to a queued input that takes it out of its lane."""
        moved = self.move(record, event, now, reason=reason, **fields)
        self.lanes.leave(record)
        return moved

    def put(self, record: InputRecord) -> None:
        """Keep another version of a known input."""
        self.pending.update(record)
        self._keep(record)

    def _keep(self, record: InputRecord) -> None:
        input_id = record.input_id
        if record.state.is_terminal:
            self.active.pop(input_id, None)
            self.ended[input_id] = record
        else:
            self.active[input_id] = record
        self._hold_key(record)

    def _hold_key(self, record: InputRecord) -> None:
        if record.idempotency_key is not None:
            self._keys[record.idempotency_key] = record.input_id

    # --- the runtime and its run -----------------------------------------------------------------

    def control(self, event: ControlEvent, now: datetime, **fields: Any) -> None:  # noqa: ANN401
        """Let something happen to the runtime. ``fields`` are further fields of its record.

        Raises:
            IllegalEventError: The runtime table refuses it.
        """
        self.set_runtime(now, state=runtime_table.next_state(self.runtime, event), **fields)

    def set_runtime(self, now: datetime, **fields: Any) -> None:  # noqa: ANN401
        """Change fields of the runtime's record."""
        before = self.runtime.state
        self.runtime = replace(self.runtime, updated_at=now, **fields)
        self.pending.runtime(self.runtime)
        after = self.runtime.state
        if after is not before and self.options.announce:
            self.pending.effect(Announce(RuntimeStateChange(StateChanged(before, after))))

    def set_run(self, record: RunRecord) -> None:
        """Keep a version of the current run; an ended one is no longer current."""
        self.pending.run(record)
        self.run = None if record.state.is_ended else record
        if record.state.is_ended:
            self.ended_runs[record.run_id] = record.state

    def wake(self, now: datetime) -> None:
        """Have waiting inputs processed."""
        self.asked_to_wake = True
        self.keep_going(now)

    def keep_going(self, now: datetime) -> None:
        """Go on starting runs until the lanes are empty."""
        if not self.runtime.woken:
            self.set_runtime(now, woken=True)

    def settle(self, now: datetime) -> None:
        """Come to rest where nothing is left to do: forget a wake, and a retry that is over."""
        if self.runtime.current_run_id is not None:
            return
        if self.runtime.woken and not len(self.lanes):
            self.set_runtime(now, woken=False)
        plan = self.runtime.retry
        if plan is not None and not self.lanes.hold_any_through(plan.through_sequence):
            self.set_runtime(now, retry=None)
            self.pending.timer(TimerKind.RETRY, None)

    # --- what others are told --------------------------------------------------------------------

    def complete(
        self, input_id: InputId, reply: ReplyTo | None, outcome: CompletionOutcome
    ) -> None:
        """Tell whoever waits for an input how it ended."""
        if reply is not None:
            self.pending.effect(Complete(input_id, reply, outcome))

    def announce_input(self, event: InputLifecycle) -> None:
        """Tell observers what happened to an input."""
        if self.options.announce:
            self.pending.effect(Announce(InputLifecycleEvent(event)))

    def announce_run(self, event: RunLifecycle) -> None:
        """Tell observers what happened to a run."""
        if self.options.announce:
            self.pending.effect(Announce(RunLifecycleEvent(event)))

    def announce_topology(self, event: Topology) -> None:
        """Tell observers that the runtime changed its standing."""
        if self.options.announce:
            self.pending.effect(Announce(TopologyEvent(event)))

    # --- handing over ----------------------------------------------------------------------------

    def take(self) -> Changes:
        """Hand over the changes, and forget what has ended."""
        for record in self.ended.values():
            if record.idempotency_key is not None:
                self._keys.pop(record.idempotency_key, None)
        self.ended.clear()
        self.ended_runs.clear()
        self.answered.clear()
        return self.pending.drain()
