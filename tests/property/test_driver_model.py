"""The driver and the model side by side, over random traffic, crashes and recoveries.

An example that fails prints every step with its outcome, then the step that went wrong. Run
``pytest tests/property --hypothesis-profile=long`` to look longer.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from enum import Enum, auto

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from schemas import commands, outcomes
from schemas.envelope import CommandMessage, InputMessage, RunEventMessage
from schemas.lifecycle import InputState, Lane, RuntimeState
from schemas.outcomes import Outcome
from schemas.records import (
    BuryInput,
    Changes,
    Complete,
    InputRecord,
    Known,
    Rebuild,
    RequestRun,
    SignalExecutor,
    StoredRuntime,
    TimerKind,
)
from tests.property.decisions import OVERRIDES, Table, decided, policy_file
from tests.property.model import Item, Model
from tests.property.senders import START, Mail, Senders, name, named
from tests.property.shell import Shell
from tests.property.store import findings
from tests.property.traffic import (
    Happen,
    Happening,
    Order,
    Publish,
    Sent,
    Start,
    Step,
    misreports,
    orders,
    publishes,
    reports,
    steps,
)
from worker.driver.options import DriverOptions
from worker.driver.policy import DEFAULT_POLICY, load_policy


class Fate(Enum):
    """What becomes of a batch once the driver has taken it."""

    COMMITTED = auto()
    LOST_BEFORE_COMMIT = auto()
    LOST_BEFORE_ACK = auto()


fates = st.sampled_from([Fate.COMMITTED] * 6 + list(Fate))
endings = st.sampled_from([Happening.COMPLETED, Happening.COMPLETED, Happening.FAILED])
looks = st.sampled_from([True, True, False])
waits = st.sampled_from([0, 0, 0, 1, 20, 70])


class DriverBesideModel(RuleBasedStateMachine):
    """Whatever comes, and whenever it dies: the driver does what the specification says."""

    whole = False
    """Whether the last step went well: else there is nothing to drain."""

    @initialize(
        max_batch=st.sampled_from([1, 2, 4, 8]),
        max_attempts=st.integers(1, 4),
        table=st.sampled_from([Table(), Table(2, OVERRIDES)]),
        announce=st.booleans(),
        state=st.sampled_from([RuntimeState.IDLE] * 8 + [RuntimeState.RECOVERING]),
    )
    def begin(
        self,
        max_batch: int,
        max_attempts: int,
        table: Table,
        state: RuntimeState,
        *,
        announce: bool,
    ) -> None:
        """A runtime, new or left behind in the middle of a recovery, and its worker's settings."""
        policy = DEFAULT_POLICY
        if table.queue_modes:
            policy = load_policy(policy_file(table.version, table.queue_modes))
        options = DriverOptions(policy, max_batch, max_attempts, 59.7, announce=announce)
        self.shell = Shell(options, state)
        self.model = Model(options, table, state)
        self.committed = self.model.copy()
        self.senders = Senders()
        self.unsettled: list[Mail] = []
        self.whole = True

    # --- what happens --------------------------------------------------------------------------

    @rule(sent=st.lists(steps, min_size=1, max_size=4), wait=waits, fate=fates, adopt=st.booleans())
    def batch(self, sent: list[Step], wait: int, fate: Fate, *, adopt: bool) -> None:
        """A batch of messages, a look for runs among them, and what became of its commit."""
        self.shell.wait(wait)
        mails = [step if isinstance(step, Start) else self.senders.send(step) for step in sent]
        self._work([*self.unsettled, *(mail for mail in mails if mail)], fate, adopt=adopt)

    @rule(sent=st.lists(publishes, min_size=1, max_size=6), look=looks)
    def publish(self, sent: list[Publish], *, look: bool) -> None:
        """Inputs, and a look for a run."""
        mails = [mail for mail in map(self.senders.send, sent) if mail]
        self._work([*mails, *[Start()] * look], Fate.COMMITTED)

    @precondition(lambda self: self.model.run is not None)
    @rule(sent=reports, wait=waits, fate=fates, look=looks)
    def report(self, sent: Happen, wait: int, fate: Fate, *, look: bool) -> None:
        """An executor tells of its run; should that end it, there is a look for the next."""
        self.shell.wait(wait)
        self._send(sent, fate, look=look)

    @rule(forced=st.sampled_from([False, False, False, True]), fate=fates)
    def start(self, fate: Fate, *, forced: bool) -> None:
        """The moment for a retry comes, and the shell looks for a run."""
        self._look_for_a_run(fate, forced=forced)

    @precondition(lambda self: self.model.run is not None)
    @rule(
        what=st.sampled_from([Happening.COMPLETED, Happening.COMPLETED, Happening.FAILED]),
        look=looks,
    )
    def finish(self, what: Happening, *, look: bool) -> None:
        """An executor does what it should, up to the end that is drawn."""
        steps_ = [Happening.STARTED, *([Happening.BOUNDARY] * (what is Happening.COMPLETED)), what]
        mails = [self.senders.send(Happen(step)) for step in steps_]
        self._work([*(mail for mail in mails if mail), *[Start()] * look], Fate.COMMITTED)

    @precondition(lambda self: self.model.run is not None)
    @rule(sent=misreports, fate=fates)
    def misreport(self, sent: Happen, fate: Fate) -> None:
        """An executor tells of its run what is not so."""
        self._send(sent, fate)

    @rule(sent=orders, fate=fates)
    def order(self, sent: Order, fate: Fate) -> None:
        """An operator has a wish."""
        self._send(sent, fate)

    @precondition(lambda self: len(self.model.items) > 20)  # so that there is something to end
    @rule(command=st.sampled_from([commands.Stop, commands.Destroy, commands.Reset]), fate=fates)
    def end(self, command: type[commands.Command], fate: Fate) -> None:
        """The runtime is to end, or to begin anew."""
        self._send(Order(command), fate)

    @rule(wait=waits, adopt=st.booleans())
    def crash(self, wait: int, *, adopt: bool) -> None:
        """The worker dies between two batches."""
        self.shell.wait(wait)
        self._recover(adopt=adopt)

    @precondition(lambda self: self.model.run is not None)
    @rule()
    def lose_receipts(self) -> None:
        """The store comes back without the receipts of the current run."""
        run = self.model.run
        assert run is not None
        self.shell.store.forget_receipts(run.id)
        self.model.receipts = {receipt for receipt in self.model.receipts if receipt[0] != run.id}
        self._recover(adopt=False)

    def teardown(self) -> None:
        """From here on every run succeeds: all inputs end and lanes drain."""
        if self.whole:
            self._drain()

    # --- one step on both sides ----------------------------------------------------------------

    def _send(self, sent: Sent, fate: Fate, *, look: bool = False) -> None:
        mail = self.senders.send(sent)
        if mail is not None:
            self._work([*self.unsettled, mail, *[Start()] * look], fate)

    def _look_for_a_run(self, fate: Fate, *, forced: bool) -> None:
        if self.model.plan is not None:
            self.shell.until(self.model.plan.not_before)
        self._work([Start(forced=forced)], fate)

    def _work(self, todo: list[Mail | Start], fate: Fate, *, adopt: bool = True) -> None:
        self.whole = False
        mails = [mail for mail in todo if isinstance(mail, Mail)]
        known = self.shell.known(mails)
        for step in todo:
            if isinstance(step, Start):
                self._start(forced=step.forced)
            else:
                self._deliver(step, known)
        self.unsettled = [] if fate is Fate.COMMITTED else mails
        if fate is Fate.LOST_BEFORE_COMMIT:
            note("lost before the commit")
            self.model = self.committed.copy()
            self._recover(adopt=adopt)
            return
        rebuild = self._commit()
        if rebuild or fate is Fate.LOST_BEFORE_ACK:
            self._recover(adopt=rebuild or adopt)

    def _deliver(self, mail: Mail, known: Known) -> None:
        message = mail.message
        policy = self.model.decide(message.input) if isinstance(message, InputMessage) else None
        outcome = self.shell.deliver(mail, known)
        note(f"{self._seconds():>6} {mail!r} -> {_gist(outcome)}")
        after = self.shell.driver.stored()
        match message:
            case InputMessage():
                assert _gist(outcome) == self.model.admit(message.input, mail.reply)
                if isinstance(outcome, outcomes.Accepted):
                    assert decided(outcome.policy) == policy
            case RunEventMessage():
                answers = self.model.event(message.event, self.shell.now, after)
                assert _gist(outcome)[0] in answers
            case CommandMessage():
                self._command(message.command, outcome, after)
        self._compare()

    def _command(self, command: commands.Command, outcome: Outcome, after: StoredRuntime) -> None:
        if command.command_id in self.model.answers:
            assert outcome == self.model.answers[command.command_id]
            return
        answers, abandoned = self.model.command(command, self.shell.now, after)
        assert _gist(outcome)[0] in answers
        self.model.answers[command.command_id] = outcome
        if abandoned is not None:
            assert isinstance(outcome, outcomes.Report)
            assert set(abandoned) & set(outcome.counts.values()), "the report counts them"

    def _start(self, *, forced: bool) -> None:
        may = self.model.may_start(self.shell.now, forced=forced)
        run_id = named(2, self.senders.number())
        wanted = self.shell.driver.wants_run(self.shell.now)
        outcome = self.shell.start(run_id, forced=forced)
        note(f"{self._seconds():>6} start {name(run_id)} -> {_gist(outcome)}")
        if not isinstance(outcome, outcomes.RunStart):
            assert may is not True, "a woken runtime goes on until its lanes are empty"
            return
        assert may is not False, "nothing wakes this runtime"
        assert wanted or forced, "a cheap test may not hide a run"
        run = self.model.start(run_id, forced=forced)
        assert outcome.input_ids == tuple(item.id for item in run.batch)
        assert outcome.boundary is run.boundary
        self._compare()

    def _commit(self) -> bool:
        """Store what the driver took; tell whether it asks to be rebuilt."""
        changes = self.shell.commit()
        self._compare_effects(changes)
        self._compare_rows()
        assert list(findings(self.shell.store)) == []
        self.committed = self.model.copy()
        self.senders.observe(self.shell.driver.stored())
        self.whole = True
        return any(isinstance(effect, Rebuild) for effect in changes.effects)

    def _recover(self, *, adopt: bool) -> None:
        recovered = self.shell.activate(adopt=adopt)
        note(f"{self._seconds():>6} recover (adopt={adopt}) -> {recovered.report}")
        self.model.recover(self.shell.now, adopt=adopt)
        self._compare()
        self._commit()

    def _drain(self) -> None:
        note("now every run succeeds")
        self._recover(adopt=True)
        self._work([*self.unsettled], Fate.COMMITTED)
        wake = self.senders.send(Order(commands.Wake))
        assert wake is not None
        self._work([wake], Fate.COMMITTED)
        for _ in range(len(self.model.items) + 2):
            if self.model.run is None:
                self._look_for_a_run(Fate.COMMITTED, forced=False)
            if self.model.run is not None:
                self._finish()
        assert self.model.active() == [], "all inputs end"

    def _finish(self) -> None:
        for happening in (Happening.STARTED, Happening.BOUNDARY, Happening.COMPLETED):
            mail = self.senders.send(Happen(happening))
            assert mail is not None
            self._work([mail], Fate.COMMITTED)

    # --- comparison ----------------------------------------------------------------------------

    def _compare(self) -> None:
        """What is active, after each step."""
        after = self.shell.driver.stored()
        self.model.settle(self.shell.now, after)
        state = after.runtime.state
        wanted = self.model.state
        assert state is wanted or (wanted, state) == (RuntimeState.ATTACHED, RuntimeState.IDLE)
        assert tuple(after.runtime.silent_intents) == self.model.intents
        assert {r.input_id: _shown(r) for r in after.inputs} == {
            item.id: _expected(item) for item in self.model.active()
        }
        for lane in Lane:
            assert self.shell.driver.waiting(lane) == [it.id for it in self.model.lane(lane)]
        run = self.model.run
        assert after.runtime.current_run_id == (run and run.id)
        assert (after.run is None) == (run is None)
        if run is not None and after.run is not None:
            assert after.run.batch == tuple(item.id for item in run.batch)
            assert (after.run.next_boundary, after.run.lease_until) == (
                run.next_boundary,
                run.lease,
            )

    def _compare_rows(self) -> None:
        """What is stored, after each commit."""
        store = self.shell.store
        assert set(store.inputs) == set(self.model.items), "every accepted input is stored"
        for record in store.inputs.values():
            item = self.model.items[record.input_id]
            assert record.state in (item.ends or {item.state})
            assert _ending(record) in {None, item.reason} or item.reason is None
        assert set(store.receipts) == self.model.receipts
        retry = store.timers.get(TimerKind.RETRY)
        plan = store.runtime.retry
        held = plan is not None and plan.not_before > self.shell.now
        if plan and held and self.model.waiting() and self.model.run is None:
            assert retry is not None, "somebody wakes the runtime when it may retry"
            assert retry.due_at == plan.not_before

    def _compare_effects(self, changes: Changes) -> None:
        told, expected = defaultdict(list), defaultdict(list)
        for effect in changes.effects:
            if isinstance(effect, Complete):
                tag = str(effect.outcome.__struct_config__.tag)
                told[effect.input_id, effect.reply.queue].append(tag)
        for input_id, queue, kinds in self.model.told:
            expected[input_id, queue].append(kinds)
        assert {asked: len(tags) for asked, tags in told.items()} == {
            asked: len(answers) for asked, answers in expected.items()
        }
        for asked, tags in told.items():
            pairs = zip(tags, expected[asked], strict=True)
            assert all(tag in kinds for tag, kinds in pairs), "told how it ended"
        buried = [effect.input_id for effect in changes.effects if isinstance(effect, BuryInput)]
        assert buried == self.model.buried
        signals = [
            (effect.run_id, effect.signal.value)
            for effect in changes.effects
            if isinstance(effect, SignalExecutor)
        ]
        extra = Counter(signals) - Counter(self.model.signals)
        assert Counter(signals) >= Counter(self.model.signals)
        assert all(kind == "cancel_run" for _, kind in extra), "nobody interrupts for nothing"
        requests = [effect.run for effect in changes.effects if isinstance(effect, RequestRun)]
        assert {run.run_id for run in requests} >= set(self.model.begun)
        assert all(run.lease_until is None for run in requests), "nobody asks for what has begun"
        for done in (self.model.told, self.model.buried, self.model.signals, self.model.begun):
            done.clear()

    def _seconds(self) -> str:
        return f"{(self.shell.now - START).total_seconds():g}s"


def _gist(outcome: Outcome) -> tuple[str, ...]:
    match outcome:
        case outcomes.Accepted(input_id=input_id):
            return ("accepted", str(input_id))
        case outcomes.Deduplicated(existing_id=existing_id):
            return ("deduplicated", str(existing_id))
        case outcomes.NotReady(state=state):
            return ("not_ready", state.value)
        case outcomes.Refused(unknown_run=True):
            return ("unknown_run",)
        case _:
            return (str(outcome.__struct_config__.tag),)


def _shown(record: InputRecord) -> tuple[object, ...]:
    sequence = record.last_boundary_sequence if record.state in _APPLIED else None
    return (record.state, record.lane, record.attempt_count, record.last_run_id, sequence)


def _expected(item: Item) -> tuple[object, ...]:
    sequence = item.receipt if item.state in _APPLIED else None
    return (item.state, item.lane, item.attempts, item.run, sequence)


_APPLIED = {InputState.APPLIED, InputState.APPLIED_PENDING_CONSUMPTION}


def _ending(record: InputRecord) -> str | None:
    """The id or the reason that an outcome names."""
    match record.outcome:
        case outcomes.Superseded(by=newer) | outcomes.Coalesced(into=newer):
            return str(newer)
        case outcomes.Abandoned(reason=reason):
            return reason.value
        case _:
            return None


TestDriverBesideModel = DriverBesideModel.TestCase
