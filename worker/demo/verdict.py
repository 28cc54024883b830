"""The verdict: each promise, judged by what is in the database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from schemas.content import blob_id
from schemas.dead_letters import DeadLetterReason
from schemas.lifecycle import InputState
from schemas.outcomes import Consumed
from store.ports import BlobStore
from worker.demo.evidence import Evidence
from worker.demo.story import RUNTIMES, Story


@dataclass(frozen=True, slots=True)
class Finding:
    """One promise, whether it was kept, and what shows it."""

    promise: str
    kept: bool
    shown_by: str


async def judge(story: Story, evidence: Evidence, blobs: BlobStore) -> list[Finding]:
    """Hold the evidence against the promises."""
    return [*_findings(story, evidence), await _picture_is_kept(story, blobs)]


def _findings(story: Story, evidence: Evidence) -> Iterator[Finding]:
    yield _nothing_lost(story, evidence)
    yield _in_order(story, evidence)
    yield _nothing_twice(evidence)
    yield _duplicates_recognised(story, evidence)
    yield _applied_once(evidence)
    yield _taken_over(evidence)
    yield _malformed_kept(story, evidence)


def _nothing_lost(story: Story, evidence: Evidence) -> Finding:
    published = {scene.draft.id for scene in story.scenes if scene.duplicate_of is None}
    ended = {record.input_id for record in evidence.all_inputs if record.state.is_terminal}
    missing = published - ended
    return Finding(
        "Nothing confirmed is lost, though the worker was killed",
        not missing,
        f"{len(published)} inputs published, {len(ended & published)} came to their end",
    )


def _in_order(story: Story, evidence: Evidence) -> Finding:
    kept = all(
        [record.input_id for record in evidence.inputs[name]] == story.expected(name)
        for name in RUNTIMES
    )
    return Finding(
        "Inputs were admitted in the order of their publication",
        kept,
        f"sequences of {len(RUNTIMES)} runtimes compared with what was published",
    )


def _nothing_twice(evidence: Evidence) -> Finding:
    consumed = [one for one in evidence.all_inputs if isinstance(one.outcome, Consumed)]
    ends = Counter(
        sum(entry.to.is_terminal for entry in record.history) for record in evidence.all_inputs
    )
    return Finding(
        "Every input has exactly one end",
        set(ends) == {1} and len(consumed) == len(evidence.all_inputs),
        f"{len(consumed)} consumed; histories with one end: {ends[1]}, with another number: "
        f"{ends.total() - ends[1]}",
    )


def _duplicates_recognised(story: Story, evidence: Evidence) -> Finding:
    repeats = [scene for scene in story.scenes if scene.duplicate_of is not None]
    stored = Counter(record.input_id for record in evidence.all_inputs)
    by_key = [scene for scene in repeats if scene.draft.id != scene.duplicate_of]
    kept = all(stored[scene.duplicate_of] == 1 for scene in repeats if scene.duplicate_of)
    kept = kept and all(scene.draft.id not in stored for scene in by_key)
    return Finding(
        "Duplicates have no second effect",
        kept,
        f"{len(repeats) - len(by_key)} with a known id and {len(by_key)} with a known key: "
        "one row for both",
    )


def _applied_once(evidence: Evidence) -> Finding:
    times = Counter(evidence.applied)
    through_runs = {one.input_id for one in evidence.all_inputs if one.last_run_id is not None}
    kept = set(times) == through_runs and set(times.values()) == {1}
    return Finding(
        "A receipt proves each input that a run consumed, and names it once",
        kept,
        f"{sum(len(records) for records in evidence.receipts.values())} receipts, "
        f"{len(times)} inputs in them, {len(through_runs)} inputs went through runs",
    )


def _taken_over(evidence: Evidence) -> Finding:
    return Finding(
        "The second worker took the runtimes over, by a higher epoch",
        all(evidence.epochs.get(name, 0) >= 2 for name in RUNTIMES),  # noqa: PLR2004 - two workers
        ", ".join(f"{name} at epoch {evidence.epochs.get(name, 0)}" for name in RUNTIMES),
    )


def _malformed_kept(story: Story, evidence: Evidence) -> Finding:
    letters = [one for one in evidence.letters if one.message_id == str(story.malformed_id)]
    kept = len(evidence.letters) == 1 and [one.reason for one in letters] == [
        DeadLetterReason.MALFORMED
    ]
    shown = letters[0].detail if letters else "no dead letter"
    return Finding("The malformed message is a dead letter that says why", kept, shown)


async def _picture_is_kept(story: Story, blobs: BlobStore) -> Finding:
    name = blob_id("image/png", story.picture)
    return Finding(
        "The inline image was moved to the blob store before the commit",
        await blobs.exists(name),
        name[:23] + "…",
    )


def waits_for_nothing(story: Story, evidence: Evidence) -> bool:
    """Whether all that was published has come to its end."""
    wanted = sum(len(story.expected(name)) for name in RUNTIMES)
    at_end = sum(one.state is InputState.CONSUMED for one in evidence.all_inputs)
    return at_end >= wanted and bool(evidence.letters)
