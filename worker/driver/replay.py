"""Replay: a recorded trace through the driver, line by line, with nothing else at work.

Each line of the trace is one JSON object::

    {"op": "accept", "at": T, "input": {...}}
    {"op": "start_run", "at": T, "run_id": U}
    {"op": "run_event", "at": T, "event": {...}}
    {"op": "command", "at": T, "command": {...}}
    {"op": "recover", "at": T, "adopt_live_runs": false}
    {"op": "set_silent_intents", "intents": [...]}

Each line of the answer says what came of it and where the runtime stands. The format is a contract:
other drivers are compared with this one by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, Final, assert_never
from uuid import UUID

import msgspec

from schemas.commands import Command, SetSilentIntents
from schemas.envelope import CommandMessage, InputMessage, RunEventMessage
from schemas.errors import MalformedError
from schemas.ids import InputId, RunId, RuntimeId
from schemas.inputs import Timestamp, WireInput, canonical
from schemas.lifecycle import Lane, RunState, RuntimeState
from schemas.outcomes import Outcome
from schemas.records import Changes, InputRecord, Known, KnownInput, RuntimeRecord
from schemas.runs import RunEvent
from worker.driver.arrival import Arrival
from worker.driver.driver import Driver
from worker.driver.options import DriverOptions
from worker.driver.recovery import recover

RUNTIME: Final = RuntimeId("replay")
_FOR_THE_SHELL: Final = frozenset({"known", "unknown_run"})
"""What an outcome tells the shell beside what the contract has."""
_BEGINNING: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


class ReplayError(ValueError):
    """A line of a trace that cannot be replayed.

    Attributes:
        line_number: The line, from 1.
        problem: What was expected, with the path of the field.
    """

    def __init__(self, line_number: int, problem: str) -> None:
        super().__init__(f"line {line_number}: {problem}")
        self.line_number = line_number
        self.problem = problem


# --- operations ----------------------------------------------------------------------------------


class _Operation(msgspec.Struct, frozen=True, tag_field="op"):
    pass


class _Accept(_Operation, frozen=True, tag="accept"):
    at: Timestamp
    input: WireInput


class _StartRun(_Operation, frozen=True, tag="start_run"):
    at: Timestamp
    run_id: RunId


class _RunEvent(_Operation, frozen=True, tag="run_event"):
    at: Timestamp
    event: RunEvent


class _Command(_Operation, frozen=True, tag="command"):
    at: Timestamp
    command: Command


class _Recover(_Operation, frozen=True, tag="recover"):
    at: Timestamp
    adopt_live_runs: bool = False


class _SetSilentIntents(_Operation, frozen=True, tag="set_silent_intents"):
    intents: tuple[str, ...]


_AnyOperation = _Accept | _StartRun | _RunEvent | _Command | _Recover | _SetSilentIntents

_operations: Final = msgspec.json.Decoder(_AnyOperation)
_encoder: Final = msgspec.json.Encoder(order="sorted")


def replay(lines: Iterable[str | bytes], options: DriverOptions | None = None) -> Iterator[str]:
    """Run a trace through a driver of its own, answering one line of JSON for each line.

    Blank lines are passed over.

    Raises:
        ReplayError: A line is not an operation.
    """
    trace = _Trace(DriverOptions(announce=False) if options is None else options)
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield trace.step(number, _decoded(number, line))


def _decoded(number: int, line: str | bytes) -> _AnyOperation:
    try:
        operation: _AnyOperation = _operations.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ReplayError(number, str(MalformedError.from_decoder(error))) from error
    return operation


class _Trace:
    """A driver, and the little that a store would know of what it has forgotten."""

    def __init__(self, options: DriverOptions) -> None:
        self._options = options
        self._driver: Driver | None = None
        self._now = _BEGINNING
        self._inputs: dict[InputId, KnownInput] = {}
        self._keys: dict[str, KnownInput] = {}
        self._runs: dict[RunId, RunState] = {}
        self._commands: dict[UUID, dict[str, Any]] = {}
        self._receipts: list[tuple[RunId, int]] = []
        self._known = Known(self._inputs, self._keys, self._runs, self._commands)

    def step(self, number: int, operation: _AnyOperation) -> str:
        """Take one step, and say what came of it."""
        driver = self._awake(operation)
        outcome = self._apply(number, driver, operation)
        driver = self._awake(operation)
        changes = driver.take()
        self._remember(changes)
        return _encoder.encode(self._view(driver, outcome, changes)).decode()

    def _awake(self, operation: _AnyOperation) -> Driver:
        if not isinstance(operation, _SetSilentIntents):
            self._now = operation.at
        if self._driver is None:
            runtime = RuntimeRecord(RUNTIME, RuntimeState.IDLE, 1, self._now, self._now)
            self._driver = Driver.fresh(runtime, self._options)
        return self._driver

    def _apply(self, number: int, driver: Driver, operation: _AnyOperation) -> Outcome:
        arrival = Arrival(self._now, self._known)
        match operation:
            case _Accept(input=received):
                item = _canonical(number, received, self._now)
                return driver.apply(InputMessage(RUNTIME, item), arrival)
            case _StartRun(run_id=run_id):
                return driver.start_run(run_id, now=self._now, forced=True)
            case _RunEvent(event=event):
                return driver.apply(RunEventMessage(RUNTIME, event.run_id, event), arrival)
            case _Command(command=command):
                return driver.apply(CommandMessage(RUNTIME, command), arrival)
            case _Recover(adopt_live_runs=adopt):
                return self._recover(driver, adopt=adopt)
            case _SetSilentIntents(intents=intents):
                command = SetSilentIntents(_command_id(number), intents)
                return driver.apply(CommandMessage(RUNTIME, command), arrival)
            case _:
                assert_never(operation)

    def _recover(self, driver: Driver, *, adopt: bool) -> Outcome:
        recovered = recover(
            driver.stored(), now=self._now, options=self._options, adopt_live_runs=adopt
        )
        self._driver = recovered.driver
        return recovered.report

    def _remember(self, changes: Changes) -> None:
        for record in (*changes.inserted, *changes.updated):
            known = KnownInput(record.input_id, record.state, record.payload_digest, record.outcome)
            self._inputs[record.input_id] = known
            if record.idempotency_key is not None:
                self._keys[record.idempotency_key] = known
        self._runs |= {run.run_id: run.state for run in changes.runs}
        self._commands |= {row.command_id: row.outcome for row in changes.commands}
        self._receipts += [(row.receipt.run_id, row.receipt.sequence) for row in changes.receipts]

    def _view(self, driver: Driver, outcome: Outcome, changes: Changes) -> dict[str, Any]:
        changed = (*changes.inserted, *changes.updated)
        return {
            "outcome": _outcome(outcome),
            "runtime_state": driver.runtime.state,
            "current_run": driver.runtime.current_run_id,
            "queue": driver.waiting(Lane.QUEUE),
            "steer": driver.waiting(Lane.STEER),
            "wake": driver.asked_to_wake,
            "inputs": {str(record.input_id): _shown(record) for record in changed},
            "receipts": self._receipts,
        }


def _canonical(number: int, received: WireInput, now: datetime) -> Any:  # noqa: ANN401
    try:
        return canonical(received, received_at=now)
    except msgspec.ValidationError as error:
        raise ReplayError(number, str(MalformedError.from_decoder(error))) from error


def _command_id(number: int) -> UUID:
    """Give a line that names no command an id of its own."""
    return msgspec.convert(f"{number:032x}", UUID)


def _outcome(outcome: Outcome) -> dict[str, Any]:
    """Write an outcome as the contract has it: every field of its own, also an empty one."""
    names = ("kind", *outcome.__struct_fields__)
    fields: dict[str, Any] = msgspec.to_builtins(outcome)
    return {name: fields.get(name, ()) for name in names if name not in _FOR_THE_SHELL}


def _shown(record: InputRecord) -> dict[str, Any]:
    return {
        "state": record.state,
        "outcome": record.outcome,
        "last_run_id": record.last_run_id,
        "last_boundary_sequence": record.last_boundary_sequence,
        "attempt_count": record.attempt_count,
    }
