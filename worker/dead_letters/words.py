"""Words: what became of dead letters, or would, as the command line and the console say it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from store.letter_acts import Answer
from worker.dead_letters.dry_run import Verdict
from worker.dead_letters.redrive import Progress

COUNTED: Final[Mapping[str, str]] = {
    "redriven": "redriven",
    "waiting": "waiting in the outbox",
    "unroutable": "not redriven: their queue does not exist",
    Answer.MISSING: "not there",
    Answer.NOT_OPEN: "not open: somebody else was faster, or they are settled",
    Answer.CHANGED: "not redriven: changed meanwhile",
    Answer.DESTROYED: "not redriven: their runtime is destroyed; discard them",
    Answer.NOWHERE: "not redriven: they name no runtime, and no queue to go back to",
    Answer.DAMAGED: "not redriven: their rows cannot be read",
    "discarded": "discarded",
    "reopened": "open again",
    "missing_or_open": "not there, or open",
}
"""After a number of letters."""

VERDICTS: Final = {
    Verdict.PROCESSED: "processed",
    Verdict.DIES_AGAIN: "a dead letter again",
    Verdict.LEAVES: "published",
    Verdict.REFUSED: "left alone",
}
"""After: it would be."""


def counts(progress: Progress) -> dict[str, int]:
    """Count what letters came to, by the keys of ``COUNTED``."""
    refused = {answer.value: count for answer, count in progress.refused.items()}
    return {
        "redriven": progress.redriven,
        "waiting": progress.waiting,
        **refused,
        "unroutable": progress.unroutable,
    }


def told(counted: Mapping[str, int]) -> str:
    """Say counts in one line; those of nothing are left out."""
    return ", ".join(f"{count:,} {COUNTED[name]}" for name, count in counted.items() if count)
