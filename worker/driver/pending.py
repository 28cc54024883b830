"""Pending: rows that changed and effects that were decided since the driver was last asked."""

from __future__ import annotations

import msgspec

from schemas.ids import InputId, RunId
from schemas.lifecycle import RuntimeState
from schemas.records import (
    Changes,
    CommandRecord,
    Effect,
    InputRecord,
    ReceiptRecord,
    RunRecord,
    RuntimeRecord,
    SnapshotRecord,
    Timer,
    TimerKind,
)


def durable(runtime: RuntimeRecord) -> RuntimeRecord:
    """Bring a runtime's record to the form in which it is stored.

    An executor bound in-process is not there after a restart: attached is stored as idle.
    """
    return msgspec.structs.replace(
        runtime,
        state=_durable_state(runtime.state),
        resting_state=runtime.resting_state and _durable_state(runtime.resting_state),
    )


def _durable_state(state: RuntimeState) -> RuntimeState:
    return RuntimeState.IDLE if state is RuntimeState.ATTACHED else state


class Pending:
    """Collects changes: the last version of each row, effects in the order of their decision."""

    __slots__ = (
        "_commands",
        "_effects",
        "_inserted",
        "_receipts",
        "_runs",
        "_runtime",
        "_snapshot",
        "_timers",
        "_updated",
    )

    def __init__(self) -> None:
        self._runtime: RuntimeRecord | None = None
        self._inserted: dict[InputId, InputRecord] = {}
        self._updated: dict[InputId, InputRecord] = {}
        self._runs: dict[RunId, RunRecord] = {}
        self._receipts: list[ReceiptRecord] = []
        self._snapshot: SnapshotRecord | None = None
        self._commands: list[CommandRecord] = []
        self._timers: dict[TimerKind, Timer | None] = {}
        self._effects: list[Effect] = []

    def runtime(self, record: RuntimeRecord) -> None:
        """Write the runtime's own row."""
        self._runtime = record

    def insert(self, record: InputRecord) -> None:
        """Write a new input."""
        self._inserted[record.input_id] = record

    def update(self, record: InputRecord) -> None:
        """Write an input that changed; one that is new in these changes stays new."""
        rows = self._inserted if record.input_id in self._inserted else self._updated
        rows[record.input_id] = record

    def run(self, record: RunRecord) -> None:
        """Write a run."""
        self._runs[record.run_id] = record

    def receipt(self, record: ReceiptRecord) -> None:
        """Write a receipt."""
        self._receipts.append(record)

    def snapshot(self, record: SnapshotRecord) -> None:
        """Write the session snapshot; a later one takes its place."""
        self._snapshot = record

    def command(self, record: CommandRecord) -> None:
        """Write a command with its report."""
        self._commands.append(record)

    def timer(self, kind: TimerKind, timer: Timer | None) -> None:
        """Set a timer, or clear it."""
        self._timers[kind] = timer

    def effect(self, effect: Effect) -> None:
        """Have something done, after all that was decided before it."""
        self._effects.append(effect)

    def drain(self) -> Changes:
        """Hand over everything and begin anew."""
        changes = Changes(
            runtime=None if self._runtime is None else durable(self._runtime),
            inserted=tuple(self._inserted.values()),
            updated=tuple(self._updated.values()),
            runs=tuple(self._runs.values()),
            receipts=tuple(self._receipts),
            snapshot=self._snapshot,
            commands=tuple(self._commands),
            timers=self._timers,
            effects=tuple(self._effects),
        )
        self.__init__()  # type: ignore[misc]
        return changes
