"""Results: what became of one letter that somebody did something with, in a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from store.letter_acts import Answer
from worker.dead_letters.redrive import Progress
from worker.dead_letters.words import counts


@dataclass(frozen=True, slots=True)
class Result:
    """A sentence, and whether it is what was wanted."""

    sentence: str
    is_good: bool = False


RESULTS: Final[Mapping[str, Result]] = {
    "redriven": Result("Redriven. The letter closes once a worker has processed it.", is_good=True),
    "waiting": Result(
        "The broker has not confirmed yet: the message is in the outbox, and a worker publishes it."
    ),
    "unroutable": Result("Not redriven: its queue does not exist."),
    Answer.MISSING: Result("Not redriven: the letter is not there any more."),
    Answer.NOT_OPEN: Result(
        "Nothing was done: the letter is not open. Somebody else was faster, or it is settled."
    ),
    Answer.CHANGED: Result("Not redriven: somebody else has changed the body meanwhile."),
    Answer.DESTROYED: Result(
        "Not redriven: its runtime is destroyed and takes nothing, ever. Discard the letter."
    ),
    Answer.NOWHERE: Result("Not redriven: it names no runtime, and no queue to go back to."),
    Answer.DAMAGED: Result("Not redriven: its row cannot be read."),
    "discarded": Result(
        "Discarded. Its bytes are kept until retention deletes them.", is_good=True
    ),
    "reopened": Result("Open again.", is_good=True),
    "missing_or_open": Result("Nothing was done: the letter is open already."),
}
"""By what an address says after it was done."""


def result_of(progress: Progress) -> str:
    """Name the result of the redrive of one letter."""
    return next(name for name, count in counts(progress).items() if count)
