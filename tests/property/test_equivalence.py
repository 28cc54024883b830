"""How messages are cut into batches, and how often the driver is dropped, changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any, TypeVar

import msgspec
from hypothesis import given, note
from hypothesis import strategies as st

from schemas import commands
from schemas.ids import RunId
from schemas.inputs import Durability
from schemas.records import Changes, Effect, InputRecord, Rebuild
from tests.property.senders import START, Mail, Senders, named
from tests.property.shell import Shell
from tests.property.store import Store
from tests.property.traffic import Happen, Happening, Order, Publish, Start, Step, steps
from worker.driver.options import DriverOptions


@dataclass(frozen=True)
class Line:
    """One line of a recorded history: when, and a message or the begin of a run."""

    seconds: int
    step: Mail | RunId
    forced: bool = False


def _survives(step: Step) -> bool:
    """Leave out what recovery forgets by design: ephemeral inputs, and a bound executor."""
    match step:
        case Publish():
            return step.durability is not Durability.EPHEMERAL
        case Order():
            return step.command not in {commands.Attach, commands.Detach}
        case Happen():
            return step.what is not Happening.LEASE_EXPIRED
        case _:
            return True


surviving = steps.filter(_survives)
histories = st.lists(st.tuples(st.sampled_from([0, 0, 1, 3]), surviving), min_size=1, max_size=40)
_T = TypeVar("_T", bound=msgspec.Struct)
OPTIONS = DriverOptions(max_batch=4, max_attempts=3, lease_seconds=86_400, announce=False)


@given(history=histories, cuts=st.sets(st.integers(1, 39)))
def test_one_batch_or_many_or_a_passivation_after_each_message_store_the_same(
    history: list[tuple[int, Step]], cuts: set[int]
) -> None:
    """One by one, at once, in random batches, recovered after each: same rows, same effects."""
    lines, one_by_one, told = _record(history)
    everything = _replay([lines], recover=False)
    batches = _replay(_cut(lines, cuts), recover=False)
    recovered = _replay([[line] for line in lines], recover=True)
    for other, told_there in (everything, batches, recovered):
        assert _at_rest(other) == _at_rest(one_by_one)
        assert told_there == told


def _record(history: Iterable[tuple[int, Step]]) -> tuple[list[Line], Store, list[Effect]]:
    """Play it one by one, as the senders see it unfold, and write down what was sent."""
    shell, senders = Shell(OPTIONS), Senders()
    lines: list[Line] = []
    told: list[Effect] = []
    for wait, intention in history:
        if isinstance(intention, Start):
            line = Line(wait, named(2, senders.number()), forced=intention.forced)
        elif (mail := senders.send(intention)) is not None:
            line = Line(wait, mail)
        else:
            continue
        note(f"{wait:>4}s {line.step!r}")
        lines.append(line)
        told += _play(shell, [line])
        senders.observe(shell.driver.stored())
    return lines, shell.store, told


def _replay(batches: Iterable[Sequence[Line]], *, recover: bool) -> tuple[Store, list[Effect]]:
    shell = Shell(OPTIONS)
    told: list[Effect] = []
    for batch in batches:
        told += _play(shell, batch)
        if recover:
            shell.activate()
            told += _told(shell.commit())
    return shell.store, told


def _play(shell: Shell, lines: Sequence[Line]) -> list[Effect]:
    """Apply lines as one batch and commit it."""
    known = shell.known([line.step for line in lines if isinstance(line.step, Mail)])
    for line in lines:
        shell.wait(line.seconds)
        if isinstance(line.step, Mail):
            shell.deliver(line.step, known)
        else:
            shell.start(line.step, forced=line.forced)
    return _told(shell.commit())


def _told(changes: Changes) -> list[Effect]:
    return [effect for effect in changes.effects if not isinstance(effect, Rebuild)]


def _cut(lines: Sequence[Line], cuts: set[int]) -> list[Sequence[Line]]:
    edges = [0, *sorted(cut for cut in cuts if cut < len(lines)), len(lines)]
    return [lines[start:end] for start, end in pairwise(edges)]


def _at_rest(store: Store) -> dict[str, Any]:
    """All rows, bar moments of writing, epochs and counts of recoveries."""
    receipts = store.receipts.items()
    return {
        "runtime": _plain(store.runtime, epoch=0, created_at=START, updated_at=START),
        "inputs": {key: _input_at_rest(record) for key, record in store.inputs.items()},
        "runs": store.runs,
        "receipts": {key: record.receipt for key, record in receipts},
        "commands": store.commands,
        "timers": store.timers,
        "snapshot": store.snapshot,
    }


def _input_at_rest(record: InputRecord) -> InputRecord:
    moves = tuple(_plain(entry, at=START) for entry in record.history)
    return _plain(record, created_at=START, updated_at=START, history=moves, recovery_count=0)


def _plain(row: _T, **constants: datetime | int | tuple[Any, ...]) -> _T:
    return msgspec.structs.replace(row, **constants)
