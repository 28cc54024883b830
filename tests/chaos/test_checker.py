"""The checker finds nothing in a kept promise, and each of its rules finds what breaks it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import msgspec
import pytest

from tests.chaos import checker
from tests.chaos.checker import Finding, Harm, Rule, check
from tests.chaos.evidence import Evidence, InputRow, LetterRow, ReceiptRow, Step, Write
from tests.chaos.record import Entry, What

ADA = "ada"
ONE, TWO, TWIN, BAD, ORDER, RUN = "one", "two", "twin", "bad", "order", "run"
HISTORY = (Step("accepted", "queued"), Step("queued", "staged"), Step("staged", "consumed"))


def chained(*ids: str) -> str:
    """The session of an agent that applied these inputs."""
    chain = checker.START
    for each in ids:
        chain = hashlib.sha256(f"{chain}{each}".encode()).hexdigest()
    return chain


def entry(message_id: str, what: What, place: int, digest: str, key: str | None = None) -> Entry:
    return Entry(ADA, message_id, what, place, digest, key, is_confirmed=True)


def row(message_id: str, sequence: int, key: str | None = None) -> InputRow:
    digest = f"digest of {message_id}"
    return InputRow(
        ADA, message_id, sequence, "consumed", "queue", key, RUN, sequence, "{}", HISTORY, digest
    )


def write(position: int, change: str, subject: str, before: str | None, after: str) -> Write:
    at = datetime(2026, 11, 25, tzinfo=UTC)
    return Write(position, at, "w1-0", "w1-0", ADA, "inputs", change, subject, before, after)


ENTRIES = [
    entry(ONE, What.INPUT, 0, "digest of one"),
    entry(TWO, What.INPUT, 1, "digest of two", "key"),
    entry(ONE, What.AGAIN, 2, "digest of one"),
    entry(TWIN, What.TWIN, 3, "digest of twin", "key"),
    entry(ONE, What.CONFLICT, 4, "another digest"),
    entry(BAD, What.MALFORMED, 5, "digest of bad"),
    entry(ORDER, What.COMMAND, 6, "digest of order"),
]
EVIDENCE = Evidence(
    inputs=[row(ONE, 0), row(TWO, 1, "key")],
    receipts=[ReceiptRow(ADA, RUN, 0, (ONE,), 1, 1), ReceiptRow(ADA, RUN, 1, (TWO,), 1, 1)],
    letters=[
        LetterRow(ADA, ONE, "input", "conflict", "the id is taken", "another digest"),
        LetterRow(ADA, BAD, "input", "malformed", "$: expected JSON", "digest of bad"),
    ],
    commands=[(ADA, ORDER)],
    snapshots={ADA: chained(ONE, TWO)},
    writes=[
        write(1, "INSERT", ONE, None, "queued"),
        write(2, "INSERT", TWO, None, "queued"),
        write(3, "UPDATE", ONE, "queued", "consumed"),
        write(4, "UPDATE", TWO, "queued", "consumed"),
    ],
    outbox=0,
)


def first(evidence: Evidence, **changed: object) -> Evidence:
    """The evidence with its first input changed."""
    return replace(evidence, inputs=[replace(evidence.inputs[0], **changed), evidence.inputs[1]])  # type: ignore[arg-type]


def letter(evidence: Evidence, **changed: object) -> Evidence:
    """The evidence with its last dead letter changed."""
    kept, changing = evidence.letters
    return replace(evidence, letters=[kept, replace(changing, **changed)])  # type: ignore[arg-type]


def swapped(evidence: Evidence) -> Evidence:
    """The evidence of a runtime that admitted the second input first."""
    one, two = evidence.inputs
    return replace(evidence, inputs=[replace(two, sequence=0), replace(one, sequence=1)])


def receipt(evidence: Evidence, **changed: object) -> Evidence:
    """The evidence with its last receipt changed."""
    kept, changing = evidence.receipts
    return replace(evidence, receipts=[kept, replace(changing, **changed)])  # type: ignore[arg-type]


def written(evidence: Evidence, **changed: object) -> Evidence:
    """The evidence with one more write, like the last one but for what is named."""
    return replace(
        evidence,
        writes=[*evidence.writes, replace(evidence.writes[-1], **changed)],  # type: ignore[arg-type]
    )


Break = Callable[[Evidence], Evidence]
BREAKS: dict[Rule, tuple[Harm, str, Break]] = {
    checker.inputs_are_somewhere: (
        Harm.LOST,
        ONE,
        lambda e: replace(e, inputs=e.inputs[1:], letters=e.letters[1:]),
    ),
    checker.inputs_have_ended: (Harm.LOST, ONE, lambda e: first(e, state="staged", outcome=None)),
    checker.twins_had_an_elder: (Harm.LOST, TWIN, lambda e: replace(e, inputs=e.inputs[:1])),
    checker.commands_were_heard: (Harm.LOST, ORDER, lambda e: replace(e, commands=[])),
    checker.letters_were_kept: (Harm.LOST, BAD, lambda e: letter(e, digest="cut short")),
    checker.payloads_are_as_sent: (Harm.LOST, ONE, lambda e: first(e, digest="cut short")),
    checker.inputs_are_in_one_place: (
        Harm.TWICE,
        ONE,
        lambda e: letter(e, message_id=ONE, reason="delivery_limit", digest="digest of one"),
    ),
    checker.inputs_end_once: (
        Harm.TWICE,
        ONE,
        lambda e: first(e, history=(*HISTORY, Step("consumed", "consumed"))),
    ),
    checker.ends_are_final: (
        Harm.TWICE,
        TWO,
        lambda e: written(e, before="consumed", after="queued"),
    ),
    checker.receipts_name_inputs_once: (Harm.TWICE, ONE, lambda e: receipt(e, ids=(ONE, TWO))),
    checker.receipts_are_contiguous: (Harm.TWICE, RUN, lambda e: receipt(e, sequence=2)),
    checker.sessions_saw_each_input_once: (
        Harm.TWICE,
        "session",
        lambda e: replace(e, snapshots={ADA: chained(ONE, ONE, TWO)}),
    ),
    checker.letters_are_one_each: (
        Harm.TWICE,
        BAD,
        lambda e: replace(e, letters=[*e.letters, e.letters[-1]]),
    ),
    checker.keys_are_taken_once: (Harm.TWICE, "key", lambda e: first(e, key="key")),
    checker.admission_is_in_order: (Harm.REORDERED, ONE, swapped),
    checker.application_is_in_order: (
        Harm.REORDERED,
        ONE,
        lambda e: replace(e, receipts=e.receipts[::-1]),
    ),
    checker.writers_are_owners: (Harm.TWO_WRITERS, TWO, lambda e: written(e, writer="w2-0")),
    checker.epochs_never_fall: (Harm.TWO_WRITERS, RUN, lambda e: receipt(e, epoch=0)),
    checker.letters_are_deserved: (
        Harm.BYSTANDER,
        TWO,
        lambda e: letter(e, message_id=TWO, reason="delivery_limit", digest="digest of two"),
    ),
}


def test_there_is_nothing_to_find_where_every_promise_was_kept() -> None:
    assert check(EVIDENCE, ENTRIES) == []


def test_every_rule_is_tried_below() -> None:
    assert set(BREAKS) == set(checker.RULES)


@pytest.mark.parametrize("rule", BREAKS, ids=lambda rule: rule.__name__)
def test_a_rule_names_what_was_broken_and_to_whom(rule: Rule) -> None:
    harm, subject, broken = BREAKS[rule]
    found: list[Finding] = list(rule(checker.Case(broken(EVIDENCE), ENTRIES)))
    assert [(one.harm, one.runtime_id) for one in found] == [(harm, ADA)] * len(found)
    assert subject in {word for one in found for word in one.subject.split()}


def test_what_nobody_confirmed_may_be_lost() -> None:
    unsure = [msgspec.structs.replace(one, is_confirmed=False) for one in ENTRIES]
    nothing = replace(
        EVIDENCE, inputs=[], receipts=[], letters=[], commands=[], snapshots={}, writes=[]
    )
    assert check(nothing, unsure) == []
