"""Outcomes: how an input ended, and what the driver answered to one message."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from schemas.ids import InputId, RunId
from schemas.lifecycle import AbandonReason, RuntimeState
from schemas.policy import PolicyDecision
from schemas.runs import Boundary

# --- how an input ended: stored with it ----------------------------------------------------------


class _Ended(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="outcome_type"):
    pass


class Consumed(_Ended, frozen=True, tag="consumed"):
    """A run applied it and ended, or its policy consumed it on acceptance."""


class Superseded(_Ended, frozen=True, tag="superseded"):
    """A newer input took its place."""

    by: InputId


class Coalesced(_Ended, frozen=True, tag="coalesced"):
    """A newer input of the same scope stands for it."""

    into: InputId


class Abandoned(_Ended, frozen=True, tag="abandoned"):
    """It was given up."""

    reason: AbandonReason


TerminalOutcome = Consumed | Superseded | Coalesced | Abandoned

EXHAUSTED: Final = Abandoned(AbandonReason.ATTEMPTS_EXHAUSTED)
"""The one end that an operator may undo, by a redrive."""


# --- what the driver answers to a message: in traces, logs and reports ---------------------------


class _Answer(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind"):
    pass


class Accepted(_Answer, frozen=True, tag="accepted"):
    """A new input was admitted."""

    input_id: InputId
    policy: PolicyDecision


class Deduplicated(_Answer, frozen=True, tag="deduplicated"):
    """The input, or its idempotency key, is known already: no effect."""

    input_id: InputId
    existing_id: InputId


class Conflict(_Answer, frozen=True, tag="conflict"):
    """The input id is known with another payload: no effect, and a dead letter."""

    input_id: InputId
    existing_digest: str
    digest: str


class Rejected(_Answer, frozen=True, tag="rejected"):
    """A durability rule refuses the input: no effect, and a dead letter."""

    reason: str


class NotReady(_Answer, frozen=True, tag="not_ready"):
    """The runtime takes no input in its state: no effect.

    ``known`` marks a redelivery of an input that was taken before: it is no dead letter.
    """

    state: RuntimeState
    known: bool = False


class Ok(_Answer, frozen=True, tag="ok"):
    """A run event took effect."""


class Stale(_Answer, frozen=True, tag="stale"):
    """A run event came for a run that has ended, or repeats one: no effect, counted."""


class Refused(_Answer, frozen=True, tag="refused"):
    """A command that the state table refuses, or a run event that breaks the protocol.

    ``unknown_run`` marks an event for a run that was never known: its dead letter has that reason.
    """

    reason: str
    unknown_run: bool = False


class RunStart(_Answer, frozen=True, tag="run_request"):
    """A run was begun over a batch."""

    run_id: RunId
    input_ids: tuple[InputId, ...]
    boundary: Boundary


class NothingToRun(_Answer, frozen=True, tag="nothing_to_run"):
    """No run was begun."""


class Report(_Answer, frozen=True, tag="report"):
    """What a command, or recovery, did: named counts and details."""

    command: str
    counts: dict[str, int]
    details: tuple[str, ...] = ()


Outcome = (
    Accepted
    | Deduplicated
    | Conflict
    | Rejected
    | NotReady
    | Ok
    | Stale
    | Refused
    | RunStart
    | NothingToRun
    | Report
)


# --- what is told to whoever waits for an input --------------------------------------------------


class _Completed(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="outcome_type"):
    pass


class CompletedOutcome(_Completed, frozen=True, tag="completed"):
    """The input was consumed; ``result`` is what the run returned."""

    result: Any = None


class SupersededOutcome(_Completed, frozen=True, tag="superseded"):
    """A newer input took its place."""

    by: InputId


class CoalescedOutcome(_Completed, frozen=True, tag="coalesced"):
    """A newer input stands for it."""

    into: InputId


class AbandonedOutcome(_Completed, frozen=True, tag="abandoned"):
    """It was given up."""

    reason: AbandonReason


class DeduplicatedOutcome(_Completed, frozen=True, tag="deduplicated"):
    """It is known already; ``outcome`` is there when that one has ended."""

    existing_id: InputId
    outcome: TerminalOutcome | None = None


class RejectedOutcome(_Completed, frozen=True, tag="rejected"):
    """It cannot be taken, whatever happens."""

    reason: str


class NotReadyOutcome(_Completed, frozen=True, tag="not_ready"):
    """The runtime takes no input now."""

    state: RuntimeState


class ConflictOutcome(_Completed, frozen=True, tag="conflict"):
    """Its id is taken by another payload."""


CompletionOutcome = (
    CompletedOutcome
    | SupersededOutcome
    | CoalescedOutcome
    | AbandonedOutcome
    | DeduplicatedOutcome
    | RejectedOutcome
    | NotReadyOutcome
    | ConflictOutcome
)


class Completion(msgspec.Struct, frozen=True):
    """The message to an input's ``reply_to``."""

    input_id: InputId
    outcome: CompletionOutcome
