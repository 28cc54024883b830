"""The report: what was done, what was promised, what was kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

from tests.chaos.campaign import Outcome
from tests.chaos.checker import Harm
from tests.chaos.plan import counted
from tests.chaos.record import What

MOST: Final = 12
"""Findings that are shown of each harm."""


@dataclass(frozen=True, slots=True)
class Pause:
    """A time in which nothing was committed, in seconds of the load."""

    since: float
    until: float

    @property
    def seconds(self) -> float:
        """How long it was."""
        return self.until - self.since


def longest_pause(outcome: Outcome) -> Pause:
    """Find the longest time under load without a commit."""
    moments = [write.at for write in outcome.evidence.writes]
    end = outcome.began + timedelta(seconds=outcome.terms.seconds)
    inside = [outcome.began, *(at for at in moments if outcome.began <= at <= end), end]
    since, until = max(pairwise(sorted(inside)), key=lambda pair: pair[1] - pair[0])
    return Pause(_offset(outcome, since), _offset(outcome, until))


def longest_wait(outcome: Outcome) -> float:
    """Find the longest time from an input's confirm to the commit that admitted it; seconds."""
    admitted = {
        (write.runtime_id, write.subject): write.at.timestamp()
        for write in outcome.evidence.writes
        if write.what == "inputs" and write.change == "INSERT"
    }
    waits = (
        admitted.get((entry.runtime_id, entry.id), entry.at) - entry.at
        for entry in outcome.entries
        if entry.is_confirmed and entry.what is What.INPUT
    )
    return max(waits, default=0.0)


def lines(outcome: Outcome) -> Iterator[str]:
    """Write the report."""
    terms = outcome.terms
    yield (
        f"seed {terms.seed}: {terms.seconds:g} s of load on {terms.runtimes} runtimes "
        f"({terms.layout}){f', sabotage: {terms.sabotage}' if terms.sabotage else ''}"
    )
    yield f"faults      {len(outcome.done)}"
    for kind, count in counted([each.act for each in outcome.done]).items():
        yield f"  {count:3} {kind}"
    yield from _messages(outcome)
    yield from _harm(outcome)
    yield from _times(outcome)
    yield from _troubles(outcome)
    yield from _verdict(outcome)


def _messages(outcome: Outcome) -> Iterator[str]:
    confirmed = [entry for entry in outcome.entries if entry.is_confirmed]
    yield f"messages    {len(confirmed)} confirmed ({_told(Counter(e.what for e in confirmed))})"
    yield f"            {outcome.unconfirmed} tries without a confirm, made again"
    evidence = outcome.evidence
    yield f"inputs      {_told(Counter(row.state for row in evidence.inputs))}"
    yield f"letters     {_told(Counter(letter.reason for letter in evidence.letters)) or 'none'}"
    epochs = sum(w.what == "runtimes" and w.before != w.after for w in evidence.writes)
    yield f"activations {epochs}"


def _harm(outcome: Outcome) -> Iterator[str]:
    found = Counter(finding.harm for finding in outcome.findings)
    for harm in Harm:
        yield f"{harm:16} {found[harm]}"


def _times(outcome: Outcome) -> Iterator[str]:
    pause = longest_pause(outcome)
    during = [
        str(each.act)
        for each in outcome.done
        if each.began < pause.until and each.over > pause.since - 1
    ]
    yield f"longest pause    {pause.seconds:.1f} s without a commit, from {pause.since:.1f} s on"
    yield from (f"  while {act.strip()}" for act in during)
    yield f"longest wait     {longest_wait(outcome):.1f} s from confirm to admission"
    settled = "never" if outcome.settled is None else f"{outcome.settled:.1f} s after the load"
    yield f"settled          {settled}"


def _troubles(outcome: Outcome) -> Iterator[str]:
    for death in outcome.deaths:
        yield f"ended by itself: {death.name}, life {death.life}: {death.why}"
    for line, count in outcome.complaints.most_common(10):
        yield f"logged {count} times: {line}"


def _verdict(outcome: Outcome) -> Iterator[str]:
    if outcome.is_clean:
        yield "every promise was kept"
        return
    for harm in Harm:
        found = [finding for finding in outcome.findings if finding.harm is harm]
        yield from (str(finding) for finding in found[:MOST])
        if len(found) > MOST:
            yield f"{harm}: and {len(found) - MOST} more"
    yield f"BROKEN. Again: {outcome.terms.command}"


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def _offset(outcome: Outcome, at: datetime) -> float:
    return (at - outcome.began).total_seconds()
