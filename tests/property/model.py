"""A small model of one runtime, written from the specification and not from the driver.

It keeps every input for ever, sorts where the driver is clever, and knows no clock but the one it
is given. ``after`` is what the driver shows once it has taken the same step; the model looks at it
only where the specification leaves a choice, and checks that the choice was one of those left.
"""

from __future__ import annotations

import base64
import copy
import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import takewhile
from typing import assert_never

from schemas import commands, runs
from schemas.ids import CommandId, InputId, RunId
from schemas.inputs import Durability, Input, InputKind, kind_of, payload_digest
from schemas.lifecycle import (
    TERMINAL_RUNTIME_STATES,
    AbandonReason,
    InputState,
    Lane,
    RuntimeState,
)
from schemas.records import ReplyTo, RetryPlan, StoredRuntime
from schemas.runs import Boundary
from tests.property.decisions import Decision, Table, breaks_durability, decide
from worker.driver.options import DriverOptions

_S = InputState
_R = RuntimeState
_KEPT = {_S.APPLIED, _S.APPLIED_PENDING_CONSUMPTION}

_FROM: dict[type[commands.Command], Collection[RuntimeState]] = {
    commands.Stop: frozenset(_R) - TERMINAL_RUNTIME_STATES,
    commands.Destroy: frozenset(_R) - {_R.DESTROYED},
    commands.Retire: {_R.IDLE, _R.ATTACHED, _R.RUNNING},
    commands.Reset: frozenset(_R) - TERMINAL_RUNTIME_STATES - {_R.RUNNING},
    commands.Recycle: {_R.IDLE, _R.ATTACHED, _R.RETIRED},
    commands.Recover: {_R.IDLE, _R.ATTACHED, _R.RUNNING},
    commands.Attach: {_R.IDLE},
    commands.Detach: {_R.ATTACHED},
}
"""Section 4: the states in which a command is taken; others are taken in any."""
_TO = {
    commands.Retire: _R.RETIRED,
    commands.Attach: _R.ATTACHED,
    commands.Detach: _R.IDLE,
}
_AT_REST = {commands.Reset, commands.Recycle}

Answer = tuple[str, ...]
"""The gist of an outcome: its kind, and what it names."""


@dataclass
class Item:
    """One input, and all that ever became of it. An ended one has its possible ends in ``ends``."""

    id: InputId
    kind: InputKind
    place: int
    lane: Lane
    scope: str | None
    ephemeral: bool
    digest: str
    reply: ReplyTo | None
    wakes: bool
    state: InputState = _S.QUEUED
    ends: frozenset[InputState] = frozenset()
    reason: str | None = None
    run: RunId | None = None
    receipt: int | None = None
    attempts: int = 0


@dataclass
class Run:
    """The run in flight."""

    id: RunId
    batch: list[Item]
    boundary: Boundary
    came_from: RuntimeState
    next_boundary: int = 0
    lease: datetime | None = None


@dataclass
class Model:
    """One runtime. ``woken`` is None where the specification does not say."""

    options: DriverOptions
    table: Table
    state: RuntimeState
    paused: bool = False
    run: Run | None = None
    woken: bool | None = False
    intents: tuple[str, ...] = ()
    items: dict[InputId, Item] = field(default_factory=dict)
    keys: dict[str, InputId] = field(default_factory=dict)
    ended_runs: set[RunId] = field(default_factory=set)
    receipts: set[tuple[RunId, int]] = field(default_factory=set)
    answers: dict[CommandId, object] = field(default_factory=dict)
    plan: RetryPlan | None = None
    failed: int | None = None
    back: int = 0
    cancelled: bool = False
    told: list[tuple[InputId, str, frozenset[str]]] = field(default_factory=list)
    buried: list[InputId] = field(default_factory=list)
    signals: list[tuple[RunId, str]] = field(default_factory=list)
    begun: list[RunId] = field(default_factory=list)

    def copy(self) -> Model:
        """Keep the model as it stands: what a crash goes back to."""
        return copy.deepcopy(self, {id(self.options): self.options})

    # --- what there is -------------------------------------------------------------------------

    def active(self) -> list[Item]:
        """Inputs that have not ended, in the order of their places."""
        alive = (item for item in self.items.values() if not item.ends)
        return sorted(alive, key=lambda item: item.place)

    def lane(self, lane: Lane) -> list[Item]:
        """The queued inputs of a lane, in order."""
        return [item for item in self.active() if item.state is _S.QUEUED and item.lane is lane]

    def decide(self, item: Input) -> Decision:
        """Section 5, in the state that the input meets."""
        idle = self.state in {_R.IDLE, _R.ATTACHED}
        return decide(item, idle=idle, intents=self.intents, table=self.table)

    def waiting(self) -> list[Item]:
        """The queued inputs of both lanes."""
        return self.lane(Lane.STEER) + self.lane(Lane.QUEUE)

    # --- admission -----------------------------------------------------------------------------

    def admit(self, item: Input, reply: ReplyTo | None) -> Answer:
        """Section 6, in its order."""
        retired = self.run is not None and self.run.came_from is _R.RETIRED  # still takes nothing
        state = _R.RETIRED if retired else self.state
        known = self.items.get(item.header.id)
        if state not in {_R.IDLE, _R.ATTACHED, _R.RUNNING}:
            if known is None or known.digest != payload_digest(item):
                return self._answered(item, reply, "not_ready", state.value)
            self._deduplicated(item, known, reply, by_id=True)  # a redelivery has no second effect
            return ("not_ready", state.value)
        if breaks_durability(item):
            return self._answered(item, reply, "rejected")
        if known is not None and known.digest != payload_digest(item):
            return self._answered(item, reply, "conflict")
        owner = known or self.items.get(
            self.keys.get(item.header.idempotency_key or "", item.header.id)
        )
        if owner is not None:
            return self._deduplicated(item, owner, reply, by_id=known is not None)
        return self._accepted(item, reply)

    def _answered(self, item: Input, reply: ReplyTo | None, kind: str, *rest: str) -> Answer:
        if reply is not None:
            self.told.append((item.header.id, reply.queue, frozenset({kind})))
        return (kind, *rest)

    def _deduplicated(
        self, item: Input, owner: Item, reply: ReplyTo | None, *, by_id: bool
    ) -> Answer:
        if not by_id or owner.ends:
            return self._answered(item, reply, "deduplicated", str(owner.id))
        owner.reply = reply or owner.reply
        return ("deduplicated", str(owner.id))

    def _accepted(self, item: Input, reply: ReplyTo | None) -> Answer:
        policy = self.decide(item)
        mode, wake = policy["queue_mode"], policy["wake_mode"]
        place = len(self.items) + 1
        new = Item(
            item.header.id,
            kind_of(item),
            -place if mode == "priority" else place,
            Lane.STEER if policy["routing_disposition"] == "steer" else Lane.QUEUE,
            item.header.supersession_key,
            item.header.durability is Durability.EPHEMERAL,
            payload_digest(item),
            reply,
            wake == "wake_if_idle",
        )
        if item.header.idempotency_key is not None:
            self.keys[item.header.idempotency_key] = new.id
        older = [it for it in self.waiting() if it.scope is not None]
        older = [it for it in older if (it.kind, it.scope) == (new.kind, new.scope)]
        self.items[new.id] = new
        if policy["apply_mode"] == "ignore" and policy["consume_point"] == "on_accept":
            self._end(new, _S.CONSUMED)
            return ("accepted", str(new.id))
        for it in older if mode in {"coalesce", "supersede"} else []:
            self._end(it, _S.COALESCED if mode == "coalesce" else _S.SUPERSEDED, reason=str(new.id))
        self.woken = self.woken or (True if wake == "wake_if_idle" else self.woken)
        if wake == "interrupt_yielding" and self.state is _R.RUNNING and self.run is not None:
            self.signals.append((self.run.id, "interrupt"))
        return ("accepted", str(new.id))

    # --- runs ----------------------------------------------------------------------------------

    def next_batch(self) -> list[Item]:
        """Section 7, next batch; under a retry plan at most what the plan says."""
        steer, queue = self.lane(Lane.STEER), self.lane(Lane.QUEUE)
        if steer:
            batch = steer  # the table gives the steer lane one boundary only
        elif queue and queue[0].kind is InputKind.PROMPT:
            batch = queue[:1]
        else:
            batch = list(takewhile(lambda it: it.kind is not InputKind.PROMPT, queue))
        limit = self.options.max_batch
        return batch[: min(limit, self.plan.batch_limit) if self.plan else limit]

    def may_start(self, now: datetime, *, forced: bool) -> bool | None:
        """Tell whether a run starts now; None where it may or may not."""
        if self.state not in {_R.IDLE, _R.ATTACHED, _R.RETIRED} or self.run or not self.waiting():
            return False
        held = self.paused or (self.plan is not None and now < self.plan.not_before)
        if forced:
            return None if held else True
        return False if held else self.woken

    def start(self, run_id: RunId, *, forced: bool) -> Run:
        """Begin a run over the next batch."""
        batch = self.next_batch()
        boundary = Boundary.RUN_START
        if batch[0].lane is Lane.STEER:
            boundary = Boundary.RUN_CHECKPOINT
        self.run = Run(run_id, batch, boundary, self.state)
        self.state = _R.RUNNING
        self.begun.append(run_id)
        self.woken = self.woken or (None if forced else self.woken)
        for item in batch:
            item.state, item.run = _S.STAGED, run_id
            item.attempts += 1
        return self.run

    def event(self, event: runs.RunEvent, now: datetime, after: StoredRuntime) -> set[str]:
        """Section 7, run events: the answers that are right."""
        run = self.run
        if run is None or event.run_id != run.id:
            return {"stale"} if event.run_id in self.ended_runs else {"unknown_run"}
        match event:
            case runs.RunStarted() | runs.RunHeartbeat():
                run.lease = self._lease(now)
            case runs.BoundaryApplied():
                return self._boundary(run, event, now, after)
            case runs.RunCompleted():
                return self._complete(run, event.consumed_input_ids)
            case runs.RunFailed():
                if event.lease_until and run.lease and run.lease > event.lease_until:
                    return {"stale"}
                self._fail(run, fatal=not event.recoverable)
            case runs.RunCancelled():
                self._cancel(run, {record.input_id for record in after.inputs})
            case _:
                assert_never(event)
        return {"ok"}

    def _lease(self, now: datetime) -> datetime:
        return now + timedelta(seconds=self.options.lease_seconds)

    def _complete(self, run: Run, consumed: Collection[InputId]) -> set[str]:
        applied = {item.id for item in run.batch if item.state in _KEPT}
        if len(applied) < len(run.batch) or not applied.issuperset(consumed):
            return {"refused"}
        self._end_run(run)
        return {"ok"}

    def _boundary(
        self, run: Run, event: runs.BoundaryApplied, now: datetime, after: StoredRuntime
    ) -> set[str]:
        receipt = event.receipt
        if receipt.run_id != run.id:
            return {"refused"}
        if receipt.sequence < run.next_boundary:
            return {"stale", "ok"}
        ids = receipt.contributing_input_ids
        staged = {it.id for it in run.batch if it.state is _S.STAGED}
        foreign = not staged.issuperset(ids) or len(set(ids)) < len(ids)
        gap = receipt.sequence > run.next_boundary
        if gap or foreign or receipt.boundary != run.boundary or _digest_differs(event):
            return {"refused"}
        for item in (self.items[input_id] for input_id in ids):
            item.state, item.receipt = _S.APPLIED_PENDING_CONSUMPTION, receipt.sequence
        self.receipts.add((run.id, receipt.sequence))
        run.next_boundary += 1
        lease = after.run.lease_until if after.run else None
        assert lease in {self._lease(now), run.lease} - {None}, (
            "a boundary proves that the run has started"
        )
        run.lease = lease
        return {"ok"}

    def _fail(self, run: Run, *, fatal: bool) -> None:
        """Roll back; a culprit that stands alone and is out of attempts is given up."""
        self.failed = len(run.batch)
        self.back = sum(item.state is _S.STAGED for item in run.batch)
        [first, *others] = run.batch
        exhausted = fatal or first.attempts >= self.options.max_attempts
        if not others and first.state is _S.STAGED and exhausted:
            self._end(first, _S.ABANDONED, reason=AbandonReason.ATTEMPTS_EXHAUSTED)
            self.buried.append(first.id)
        self._end_run(run)

    def _cancel(self, run: Run, still_active: Collection[InputId]) -> None:
        """Roll back; whether a cancelled attempt counts to the last is left open, so is a pause."""
        self.cancelled = True
        [first, *others] = run.batch
        spent = first.attempts >= self.options.max_attempts and first.state is _S.STAGED
        if not others and spent and first.id not in still_active:
            self._end(first, _S.ABANDONED, reason=AbandonReason.ATTEMPTS_EXHAUSTED)
            self.buried.append(first.id)
        self._end_run(run)

    def _end_run(self, run: Run) -> None:
        """What has its receipt is consumed, what has not goes back to its place."""
        for item in (it for it in run.batch if not it.ends):
            if item.state in _KEPT:
                self._end(item, _S.CONSUMED)
            else:
                item.state = _S.QUEUED
        self.ended_runs.add(run.id)
        self.run = None
        rests = {_R.RETIRED, _R.ATTACHED}
        if self.state is _R.RUNNING:
            self.state = run.came_from if run.came_from in rests else _R.IDLE

    def _end(self, item: Item, *ends: InputState, reason: str | None = None) -> None:
        item.ends, item.reason = frozenset(ends), reason
        if item.reply is not None:
            kinds = {"completed" if end is _S.CONSUMED else end.value for end in ends}
            self.told.append((item.id, item.reply.queue, frozenset(kinds)))

    # --- control -------------------------------------------------------------------------------

    def command(
        self, command: commands.Command, now: datetime, after: StoredRuntime
    ) -> tuple[set[str], range | None]:
        """Section 8, commands: the answers that are right, how many inputs may be abandoned."""
        allowed = _FROM.get(type(command), frozenset(_R))
        if self.state not in allowed or (type(command) in _AT_REST and self.run is not None):
            return {"refused"}, None
        abandoned = None
        match command:
            case commands.Stop():
                abandoned = self._finish(_R.STOPPED)
            case commands.Destroy():
                abandoned = self._finish(_R.DESTROYED)
            case commands.Reset():
                self.state, abandoned = _R.IDLE, self._abandon_all(AbandonReason.RESET)
            case commands.AbandonPending():
                abandoned = self._abandon_pending(command.reason, after)
            case commands.Recycle() | commands.Recover():
                self.state = _R.IDLE if self.run is None else self.state
                kept = {record.input_id for record in after.inputs}  # ephemeral: stay or go
                self.recover(now, adopt=True, kept=kept)
            case _:
                return self._order(command, after), None
        return {"report"}, abandoned

    def _order(self, command: commands.Command, after: StoredRuntime) -> set[str]:
        """The commands that abandon nothing, or one input."""
        self.state = _TO.get(type(command), self.state)
        match command:
            case commands.Retire():
                self.woken = bool(self.waiting()) or self.woken
            case commands.Resume():
                self.state = _R.IDLE if self.state is _R.RECOVERING else self.state
            case commands.SetSilentIntents():
                self.intents = self.intents if self.state.is_terminal else command.intents
            case commands.Wake():
                self.woken = bool(self.waiting()) or self.woken
            case commands.CancelInput():
                return self._cancel_input(command.input_id)
            case commands.CancelRun():
                return self._cancel_run(command.run_id, after)
        lenient = type(command) not in _FROM and self.state.is_terminal
        return {"report", "refused"} if lenient else {"report"}

    def _cancel_run(self, run_id: RunId | None, after: StoredRuntime) -> set[str]:
        """Ask the executor; what no executor has taken may be over at once."""
        if self.run is None or run_id not in {None, self.run.id}:
            return {"refused"}
        self.signals.append((self.run.id, "cancel_run"))
        if self.run.lease is None and after.run is None:
            self._cancel(self.run, {record.input_id for record in after.inputs})
        return {"report"}

    def _finish(self, state: RuntimeState) -> range:
        abandoned = self._abandon_all(AbandonReason.DESTROYED)
        if self.run is not None:
            self.ended_runs.add(self.run.id)
            self.run = None
        self.state = state
        return abandoned

    def _abandon_all(self, reason: AbandonReason) -> range:
        """All that is active; what has its receipt may also count as consumed."""
        active = self.active()
        for item in active:
            proven = {_S.CONSUMED} if item.state in _KEPT else set()
            self._end(item, _S.ABANDONED, *proven, reason=reason)
        sure = sum(len(item.ends) == 1 for item in active)
        return range(sure, len(active) + 1)

    def _abandon_pending(self, reason: AbandonReason, after: StoredRuntime) -> range:
        """What waits is abandoned; whether a run in flight goes down with it is left open."""
        waiting = self.waiting()
        for item in waiting:
            self._end(item, _S.ABANDONED, reason=reason)
        if self.run is None or after.run is not None:
            return range(len(waiting), len(waiting) + 1)
        gone = self._abandon_all(reason)
        self._end_run(self.run)
        return range(len(waiting) + gone.start, len(waiting) + gone.stop)

    def _cancel_input(self, input_id: InputId) -> set[str]:
        item = self.items.get(input_id)
        if item is None or item.ends:
            return {"report", "refused"}
        if item.state is not _S.QUEUED:
            return {"refused"}
        self._end(item, _S.ABANDONED, reason=AbandonReason.CANCELLED)
        return {"report"}

    # --- recovery ------------------------------------------------------------------------------

    def recover(self, now: datetime, *, adopt: bool, kept: Collection[InputId] = ()) -> None:
        """Section 8, recover. ``kept`` names ephemeral inputs that are forgiven."""
        run = self.run
        live = adopt and run is not None and (run.lease is None or run.lease > now)
        for item in self.active():
            if live and item.state is not _S.QUEUED:
                continue
            if item.state in _KEPT and (item.run, item.receipt) in self.receipts:
                self._end(item, _S.CONSUMED)
            elif item.ephemeral and item.id not in kept:
                self._end(item, _S.ABANDONED)
            else:
                item.state = _S.QUEUED
        self.woken = self.woken or any(item.wakes for item in self.waiting()) or self.woken
        if run is not None and not live:
            self._lose(run, failed=adopt)
        if run is not None and run.came_from is _R.ATTACHED:
            run.came_from = _R.IDLE
        if self.state not in {_R.RETIRED, _R.STOPPED, _R.DESTROYED, _R.RUNNING}:
            self.state = _R.IDLE

    def _lose(self, run: Run, *, failed: bool) -> None:
        """Let a run go: one whose executor died failed, one that is not adopted is forgotten."""
        back = [item for item in run.batch if not item.ends]
        spent = len(run.batch) == 1 and back and back[0].attempts >= self.options.max_attempts
        if failed:
            self.failed, self.back = len(run.batch), len(back)
        if failed and spent:
            self._end(back[0], _S.ABANDONED, reason=AbandonReason.ATTEMPTS_EXHAUSTED)
            self.buried.append(back[0].id)
        self._end_run(run)
        self.woken = self.woken or None

    # --- after each step -----------------------------------------------------------------------

    def settle(self, now: datetime, after: StoredRuntime) -> None:
        """A runtime goes on until its lanes are empty; a failed run leaves a plan to retry."""
        if self.run is None and not self.waiting():
            self.woken = False
        plan, before, failed = after.runtime.retry, self.plan, self.failed
        ill = failed or self.cancelled
        if not ill and plan is not None:
            assert before is not None, "only a run that ended ill makes a plan"
            assert plan.not_before <= max(now, before.not_before), "or holds anybody back"
            assert plan.through_sequence == before.through_sequence, "or watches other inputs"
        self.plan, self.failed, self.cancelled = plan, None, False
        if failed and failed > 1 and self.back:
            assert plan is not None, "a batch that failed comes back in halves"
            assert 1 <= plan.batch_limit <= (failed + 1) // 2, "comes back in halves"
        if ill and plan is not None and plan != before:
            cap = timedelta(seconds=2 * self.options.backoff_cap)
            assert now <= plan.not_before <= now + cap, "backs off, up to a cap"


def _digest_differs(event: runs.BoundaryApplied) -> bool:
    digest, snapshot = event.receipt.conversation_digest, event.session_snapshot
    if digest is None or not isinstance(snapshot, str):
        return False
    return hashlib.sha256(base64.b64decode(snapshot)).hexdigest() != digest
