"""Dedupe: what the store knows of the ids that a batch of messages names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import structlog
from sqlalchemy import Column, Select, select, tuple_

from schemas.dead_letters import DeadLetterStatus
from schemas.ids import CommandId, DeadLetterId, InputId, RunId, RuntimeId
from schemas.lifecycle import InputState, RunState
from schemas.outcomes import EXHAUSTED
from schemas.records import InputRecord, Known, KnownInput, Redriven
from store import codec
from store.codec import READ_ERRORS, Codec
from store.engine import Database
from store.ports import Lookup
from store.script import Ask, Rows, Script
from store.tables import commands, dead_letters, inputs, runs

log = structlog.get_logger()

_KNOWN: Final = (
    inputs.c.runtime_id,
    inputs.c.input_id,
    inputs.c.state,
    inputs.c.payload_digest,
    inputs.c.outcome,
)
_WHOLE: Final = tuple(column for column in inputs.c if column.name != "payload")
_LETTER: Final = tuple(
    dead_letters.c[name]
    for name in ("id", "runtime_id", "message_id", "redrive_count", "body_digest", "status")
)


@dataclass(slots=True)
class _Findings:
    """What was found of one runtime."""

    inputs: dict[InputId, KnownInput] = field(default_factory=dict)
    keys: dict[str, KnownInput] = field(default_factory=dict)
    runs: dict[RunId, RunState] = field(default_factory=dict)
    commands: dict[CommandId, dict[str, Any]] = field(default_factory=dict)
    redriven: dict[DeadLetterId, Redriven] = field(default_factory=dict)
    exhausted: dict[InputId, InputRecord] = field(default_factory=dict)


_Found = defaultdict[RuntimeId, _Findings]
_Values = dict[str, Any]


# --- what is found -------------------------------------------------------------------------------


def _note_input(findings: _Findings, row: _Values) -> None:
    known = codec.read_known(row)
    findings.inputs[known.input_id] = known


def _note_key(findings: _Findings, row: _Values) -> None:
    findings.keys[row["idempotency_key"]] = codec.read_known(row)


def _note_run(findings: _Findings, row: _Values) -> None:
    findings.runs[codec.read_id(row["run_id"])] = RunState(row["state"])


def _note_command(findings: _Findings, row: _Values) -> None:
    findings.commands[codec.read_id(row["command_id"])] = codec.read_object(row["outcome"])


def _note_redriven(findings: _Findings, row: _Values) -> None:
    if row["status"] == DeadLetterStatus.REDRIVEN.value:
        letter = Redriven(row["message_id"], row["redrive_count"], row["body_digest"])
        findings.redriven[codec.read_id(row["id"])] = letter


def _note_exhausted(findings: _Findings, row: _Values) -> None:
    if row["state"] != InputState.ABANDONED.value:
        return
    record = codec.read_input(row)
    if record.outcome == EXHAUSTED:
        findings.exhausted[record.input_id] = record


# --- what is asked -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Question:
    """A kind of id that can be asked for: where it is looked up, and what an answer means.

    The statement looks up pairs of a runtime and an id, any number at once.
    """

    ids: Callable[[Lookup], Sequence[object]]
    column: Column[Any]
    wanted: tuple[Column[Any], ...]
    note: Callable[[_Findings, _Values], None]

    @property
    def key(self) -> tuple[Column[Any], Column[Any]]:
        """The runtime, and the id."""
        return (self.column.table.c.runtime_id, self.column)

    def read(self, rows: Rows, found: _Found) -> None:
        """Note the answers, but for damaged ones.

        Such a one counts as not known, and the constraint that stands behind the lookup refuses the
        one message that names it: the lookups of other runtimes must not fail for it.
        """
        names = [str(column.name) for column in self.wanted]
        for row in rows:
            values = dict(zip(names, row, strict=True))
            try:
                self.note(found[values["runtime_id"]], values)
            except READ_ERRORS as error:
                fault = codec.fault(error)
                log.warning("store: damaged row", runtime_id=values["runtime_id"], why=fault)


_QUESTIONS: Final = (
    _Question(lambda lookup: lookup.inputs, inputs.c.input_id, _KNOWN, _note_input),
    _Question(
        lambda lookup: lookup.keys,
        inputs.c.idempotency_key,
        (*_KNOWN, inputs.c.idempotency_key),
        _note_key,
    ),
    _Question(
        lambda lookup: lookup.runs,
        runs.c.run_id,
        (runs.c.runtime_id, runs.c.run_id, runs.c.state),
        _note_run,
    ),
    _Question(
        lambda lookup: lookup.commands,
        commands.c.command_id,
        (commands.c.runtime_id, commands.c.command_id, commands.c.outcome),
        _note_command,
    ),
    _Question(lambda lookup: lookup.redriven, dead_letters.c.id, _LETTER, _note_redriven),
    _Question(lambda lookup: lookup.exhausted, inputs.c.input_id, _WHOLE, _note_exhausted),
)


class Dedupe:
    """Looks ids up: one statement for each kind of id that is asked for, compiled once."""

    def __init__(self, database: Database, codec: Codec) -> None:
        self._database = database
        self._codec = codec
        self._texts = [database.text(self._statement(question)) for question in _QUESTIONS]

    async def known(self, lookups: Sequence[Lookup]) -> list[Known]:
        """Tell what is known of each lookup's ids, in order."""
        found: _Found = defaultdict(_Findings)
        for question, rows in await self._database.look(self._answers(lookups)):
            question.read(rows, found)
        return [_known(found[lookup.runtime_id]) for lookup in lookups]

    def _answers(self, lookups: Sequence[Lookup]) -> Script[list[tuple[_Question, Rows]]]:
        answers = []
        for question, text in zip(_QUESTIONS, self._texts, strict=True):
            asked = self._asked(question, lookups)
            if asked:
                rows = yield Ask(text, self._database.flavour.pairs_arguments(asked))
                answers.append((question, rows))
        return answers

    def _asked(self, question: _Question, lookups: Sequence[Lookup]) -> list[tuple[object, object]]:
        uuid = self._codec.uuid
        return [
            (lookup.runtime_id, uuid(one) if isinstance(one, UUID) else one)
            for lookup in lookups
            for one in question.ids(lookup)
        ]

    def _statement(self, question: _Question) -> Select[Any]:
        asked = self._database.flavour.pairs(question.key, ())
        return select(*question.wanted).where(tuple_(*question.key).in_(asked))


def _known(found: _Findings) -> Known:
    return Known(
        found.inputs, found.keys, found.runs, found.commands, found.redriven, found.exhausted
    )
