"""The checker: holds what the database has against what the publishers were promised.

It imports nothing of the worker, and trusts nothing but rows, the database's own log of changes and
the publishers' record. Each rule is a function that yields what breaks it.
"""

from __future__ import annotations

import enum
import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.chaos.evidence import Evidence, InputRow, LetterRow, ReceiptRow
from tests.chaos.record import Entry, What

TERMINAL: Final = frozenset({"consumed", "superseded", "coalesced", "abandoned"})
OWNED: Final = frozenset({"runtimes", "inputs", "runs", "receipts", "snapshots", "commands"})
"""Tables that only the owner of a runtime may write to."""

START: Final = "0" * 64
"""What the agent's chain begins with."""

COMMANDED: Final = "commanded-"
"""What the names of runtimes begin with that are given commands: these refuse inputs at times."""


class Harm(enum.StrEnum):
    """What a broken promise means to whom it was given."""

    LOST = "lost"
    TWICE = "twice"
    REORDERED = "reordered"
    TWO_WRITERS = "two writers"
    BYSTANDER = "bystander hurt"


@dataclass(frozen=True, slots=True)
class Finding:
    """A promise that was broken: to whom, and how."""

    harm: Harm
    runtime_id: str
    subject: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.harm}: {self.runtime_id} {self.subject}: {self.sentence}"


@dataclass(slots=True)
class Case:
    """The evidence and the record, by the keys that rules ask for."""

    evidence: Evidence
    entries: Sequence[Entry]
    inputs: dict[tuple[str, str], InputRow] = field(init=False)
    letters: defaultdict[tuple[str, str], list[LetterRow]] = field(init=False)
    receipts: defaultdict[tuple[str, str], list[ReceiptRow]] = field(init=False)
    sent: dict[tuple[str, str, str], Entry] = field(init=False)

    def __post_init__(self) -> None:
        self.inputs = {(row.runtime_id, row.id): row for row in self.evidence.inputs}
        self.letters = defaultdict(list)
        for letter in self.evidence.letters:
            self.letters[letter.runtime_id or "", letter.message_id or ""].append(letter)
        self.receipts = defaultdict(list)
        for receipt in self.evidence.receipts:
            for each in receipt.ids:
                self.receipts[receipt.runtime_id, each].append(receipt)
        self.sent = {}
        for entry in self.entries:
            self.sent.setdefault((entry.runtime_id, entry.id, entry.digest), entry)

    def confirmed(self, *what: What) -> list[Entry]:
        """What the broker has confirmed, of some kinds."""
        return [entry for entry in self.entries if entry.is_confirmed and entry.what in what]


Rule = Callable[[Case], Iterator[Finding]]


def check(evidence: Evidence, entries: Sequence[Entry]) -> list[Finding]:
    """Apply every rule."""
    case = Case(evidence, entries)
    return [finding for rule in RULES for finding in rule(case)]


def unaccounted(evidence: Evidence, entries: Sequence[Entry]) -> int:
    """Count what is still on its way: confirmed and nowhere yet, or not at its end."""
    case = Case(evidence, entries)
    return sum(1 for rule in ON_THEIR_WAY for _ in rule(case)) + evidence.outbox


# --- promise 1: nothing confirmed is lost --------------------------------------------------------


def inputs_are_somewhere(case: Case) -> Iterator[Finding]:
    """A confirmed input is an input of its runtime, or a dead letter."""
    for entry in case.confirmed(What.INPUT):
        key = (entry.runtime_id, entry.id)
        if key not in case.inputs and not case.letters[key]:
            yield _of(entry, Harm.LOST, "confirmed, and neither an input nor a dead letter")


def inputs_have_ended(case: Case) -> Iterator[Finding]:
    """Every input is in a terminal state, with an outcome."""
    for row in case.evidence.inputs:
        if row.state not in TERMINAL or row.outcome is None:
            yield _at(row, Harm.LOST, f"it never ended: {row.state}")


def twins_had_an_elder(case: Case) -> Iterator[Finding]:
    """An input with the key of another may be dropped, for the other is there."""
    keys = {(row.runtime_id, row.key) for row in case.evidence.inputs}
    for entry in case.confirmed(What.TWIN):
        if (entry.runtime_id, entry.key) not in keys:
            yield _of(entry, Harm.LOST, "dropped as a duplicate by its key, which nobody has")


def commands_were_heard(case: Case) -> Iterator[Finding]:
    """A confirmed command was carried out."""
    heard = set(case.evidence.commands)
    for entry in case.confirmed(What.COMMAND):
        if (entry.runtime_id, entry.id) not in heard:
            yield _of(entry, Harm.LOST, "the command was confirmed, and never carried out")


def letters_were_kept(case: Case) -> Iterator[Finding]:
    """A conflict and a malformed message are dead letters with that reason and their bytes."""
    for entry in case.confirmed(What.CONFLICT, What.MALFORMED):
        letters = case.letters[entry.runtime_id, entry.id]
        kept = [letter for letter in letters if letter.digest == entry.digest]
        if not any(letter.reason == entry.what for letter in kept):
            there = ", ".join(letter.reason for letter in letters) or "none"
            yield _of(entry, Harm.LOST, f"no dead letter with its bytes and its reason: {there}")


def payloads_are_as_sent(case: Case) -> Iterator[Finding]:
    """What is stored of an input is what was published, byte for byte."""
    for row in case.evidence.inputs:
        if (row.runtime_id, row.id, row.digest) not in case.sent:
            yield _at(row, Harm.LOST, "its payload is not what was published under its id")


# --- promise 2: nothing happens twice ------------------------------------------------------------


def inputs_are_in_one_place(case: Case) -> Iterator[Finding]:
    """What is an input is no dead letter as well, unless its attempts were used up."""
    for row in case.evidence.inputs:
        for letter in case.letters[row.runtime_id, row.id]:
            if letter.reason == "attempts_exhausted":
                if row.state != "abandoned":
                    yield _at(row, Harm.TWICE, f"given up, and {row.state}")
            elif letter.digest == row.digest:
                yield _at(row, Harm.TWICE, f"an input, and a dead letter: {letter.reason}")


def inputs_end_once(case: Case) -> Iterator[Finding]:
    """A history leads from one state to the next, and its last entry alone is terminal."""
    for row in case.evidence.inputs:
        targets = [step.target for step in row.history]
        joined = all(
            a.target == b.source for a, b in zip(row.history, row.history[1:], strict=False)
        )
        if not joined or sum(target in TERMINAL for target in targets) > 1:
            yield _at(row, Harm.TWICE, f"its history does not hold together: {targets}")


def ends_are_final(case: Case) -> Iterator[Finding]:
    """No committed change leads out of a terminal state, and a row is inserted once."""
    inserted: Counter[tuple[str | None, str]] = Counter()
    for write in case.evidence.writes:
        if write.what != "inputs":
            continue
        inserted[write.runtime_id, write.subject] += write.change == "INSERT"
        if write.before in TERMINAL and write.after != write.before:
            sentence = f"{write.writer} changed {write.before} to {write.after}"
            yield Finding(Harm.TWICE, write.runtime_id or "", f"input {write.subject}", sentence)
    for (runtime_id, subject), times in inserted.items():
        if times != 1:
            sentence = f"inserted {times} times"
            yield Finding(Harm.TWICE, runtime_id or "", f"input {subject}", sentence)


def receipts_name_inputs_once(case: Case) -> Iterator[Finding]:
    """What a run consumed is named by one receipt, of that run; nothing is named by two."""
    for row in case.evidence.inputs:
        found = case.receipts[row.runtime_id, row.id]
        proofs = [(receipt.run_id, receipt.sequence) for receipt in found]
        by_run = row.state == "consumed" and row.run_id is not None
        if by_run and proofs != [(row.run_id, row.boundary)]:
            yield _at(row, Harm.TWICE, f"consumed by run {row.run_id}, named by receipts {proofs}")
        elif len(proofs) > 1 or (proofs and not by_run and not _is_commanded(row.runtime_id)):
            yield _at(row, Harm.TWICE, f"{row.state}, and named by receipts {proofs}")


def receipts_are_contiguous(case: Case) -> Iterator[Finding]:
    """The receipts of a run count from 0, and name inputs of the runtime."""
    runs: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for receipt in case.evidence.receipts:
        runs[receipt.runtime_id, receipt.run_id].append(receipt.sequence)
        for each in receipt.ids:
            if (receipt.runtime_id, each) not in case.inputs:
                yield _in(receipt, Harm.TWICE, f"it names {each}, which is no input here")
    for (runtime_id, run_id), sequences in runs.items():
        if sequences != list(range(len(sequences))):
            sentence = f"its receipts were committed as {sequences}"
            yield Finding(Harm.TWICE, runtime_id, f"run {run_id}", sentence)


def sessions_saw_each_input_once(case: Case) -> Iterator[Finding]:
    """The agent's chain over the inputs that it applied is the one that receipts give."""
    chains: defaultdict[str, str] = defaultdict(lambda: START)
    for receipt in case.evidence.receipts:
        for each in receipt.ids:
            link = f"{chains[receipt.runtime_id]}{each}"
            chains[receipt.runtime_id] = hashlib.sha256(link.encode()).hexdigest()
    for runtime_id, chain in chains.items():
        if case.evidence.snapshots.get(runtime_id) != chain:
            sentence = "the session is not that of the receipts: something was applied twice or not"
            yield Finding(Harm.TWICE, runtime_id, "session", sentence)


def letters_are_one_each(case: Case) -> Iterator[Finding]:
    """A message that died more than once has one dead letter."""
    for (runtime_id, message_id), letters in case.letters.items():
        for digest, times in Counter(letter.digest for letter in letters).items():
            if times > 1 and (runtime_id, message_id, digest) in case.sent:
                sentence = f"{times} dead letters of one message"
                yield Finding(Harm.TWICE, runtime_id, f"message {message_id}", sentence)


def keys_are_taken_once(case: Case) -> Iterator[Finding]:
    """An idempotency key admits one input, and a twin is none."""
    keys = Counter((row.runtime_id, row.key) for row in case.evidence.inputs if row.key)
    for (runtime_id, key), times in keys.items():
        if times > 1:
            yield Finding(Harm.TWICE, runtime_id, f"key {key}", f"{times} inputs have it")


# --- promise 3: order ----------------------------------------------------------------------------


def admission_is_in_order(case: Case) -> Iterator[Finding]:
    """Inputs are admitted in the order in which their publisher sent them first."""
    places = {
        (entry.runtime_id, entry.id): entry.place
        for entry in reversed(case.entries)
        if entry.what is What.INPUT
    }
    last: defaultdict[str, tuple[int, str]] = defaultdict(lambda: (-1, ""))
    for row in case.evidence.inputs:
        place = places.get((row.runtime_id, row.id), -1)
        before, other = last[row.runtime_id]
        if place <= before:
            yield _at(
                row, Harm.REORDERED, f"sent as number {place}, admitted after {before} {other}"
            )
        last[row.runtime_id] = (place, row.id)


def application_is_in_order(case: Case) -> Iterator[Finding]:
    """Within a lane, inputs are applied in the order of their admission."""
    last: defaultdict[tuple[str, str | None], int] = defaultdict(lambda: -1)
    for receipt in case.evidence.receipts:
        for each in receipt.ids:
            row = case.inputs.get((receipt.runtime_id, each))
            if row is None:
                continue
            lane = (row.runtime_id, row.lane)
            if row.sequence <= last[lane]:
                yield _at(row, Harm.REORDERED, f"number {row.sequence} applied after {last[lane]}")
            last[lane] = max(last[lane], row.sequence)


# --- promise 4: one writer -----------------------------------------------------------------------


def writers_are_owners(case: Case) -> Iterator[Finding]:
    """Whoever writes to a runtime owns it at that moment."""
    for write in case.evidence.writes:
        if write.what in OWNED and write.owner is not None and write.owner != write.writer:
            sentence = f"{write.writer} wrote to {write.what}, of which {write.owner} is the owner"
            yield Finding(Harm.TWO_WRITERS, write.runtime_id or "", write.subject, sentence)


def epochs_never_fall(case: Case) -> Iterator[Finding]:
    """In the order of commits, epochs of receipts never fall, and are the runtime's own."""
    last: defaultdict[str, int] = defaultdict(int)
    for receipt in case.evidence.receipts:
        highest = last[receipt.runtime_id]
        if receipt.epoch < highest or receipt.epoch != receipt.epoch_then:
            sentence = f"epoch {receipt.epoch} after {highest}, runtime at {receipt.epoch_then}"
            yield _in(receipt, Harm.TWO_WRITERS, sentence)
        last[receipt.runtime_id] = max(highest, receipt.epoch)


# --- promise 5: a poison message hurts nobody else -----------------------------------------------

_REASONS: Final = {
    What.INPUT: "attempts_exhausted",
    What.CONFLICT: "conflict",
    What.MALFORMED: "malformed",
}
_REFUSAL: Final = "not_ready"


def letters_are_deserved(case: Case) -> Iterator[Finding]:
    """A dead letter is of a message that was sent and gave reason for it, and has a detail."""
    for letter in case.evidence.letters:
        runtime_id, message_id = letter.runtime_id or "", letter.message_id or ""
        subject = f"message {message_id} ({letter.type})"
        entry = case.sent.get((runtime_id, message_id, letter.digest))
        if entry is None:
            sentence = f"a dead letter of what nobody sent: {letter.reason}: {letter.detail}"
            yield Finding(Harm.BYSTANDER, runtime_id, subject, sentence)
            continue
        allowed = {_REASONS.get(entry.what), _REFUSAL if _is_commanded(runtime_id) else None}
        if letter.reason not in allowed or not letter.detail:
            sentence = f"{entry.what} became a dead letter: {letter.reason}: {letter.detail}"
            yield Finding(Harm.BYSTANDER, runtime_id, subject, sentence)


# --- all of them ---------------------------------------------------------------------------------

ON_THEIR_WAY: Final[tuple[Rule, ...]] = (
    inputs_are_somewhere,
    inputs_have_ended,
    commands_were_heard,
    letters_were_kept,
)
RULES: Final[tuple[Rule, ...]] = (
    *ON_THEIR_WAY,
    twins_had_an_elder,
    payloads_are_as_sent,
    inputs_are_in_one_place,
    inputs_end_once,
    ends_are_final,
    receipts_name_inputs_once,
    receipts_are_contiguous,
    sessions_saw_each_input_once,
    letters_are_one_each,
    keys_are_taken_once,
    admission_is_in_order,
    application_is_in_order,
    writers_are_owners,
    epochs_never_fall,
    letters_are_deserved,
)


def _is_commanded(runtime_id: str) -> bool:
    return runtime_id.startswith(COMMANDED)


def _of(entry: Entry, harm: Harm, sentence: str) -> Finding:
    return Finding(harm, entry.runtime_id, f"{entry.what} {entry.id}", sentence)


def _at(row: InputRow, harm: Harm, sentence: str) -> Finding:
    return Finding(harm, row.runtime_id, f"input {row.id}", sentence)


def _in(receipt: ReceiptRow, harm: Harm, sentence: str) -> Finding:
    return Finding(
        harm, receipt.runtime_id, f"receipt {receipt.run_id} {receipt.sequence}", sentence
    )
