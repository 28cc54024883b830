"""A culprit hurts nobody else: failing inputs end alone, their neighbours are applied."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import log2

from hypothesis import given, note
from hypothesis import strategies as st

from schemas import commands, outcomes
from schemas.ids import InputId
from schemas.inputs import HandlingMode, InputKind
from schemas.lifecycle import AbandonReason, InputState
from schemas.records import InputRecord, TimerKind
from tests.property.senders import Senders, name, named
from tests.property.shell import Shell
from tests.property.traffic import Happen, Happening, Order, Publish, Sent
from worker.driver.options import DriverOptions


@dataclass(frozen=True)
class Plan:
    """One input, and how a run that holds it ends: None is well."""

    kind: InputKind
    hint: HandlingMode | None
    poison: Happening | None
    late: bool = False


_FLOW_STEP = Plan(InputKind.FLOW_STEP, None, None)
plans = st.builds(
    Plan,
    st.sampled_from([InputKind.FLOW_STEP, InputKind.PEER_MESSAGE, InputKind.PROMPT]),
    st.sampled_from([None, None, None, HandlingMode.STEER]),
    st.sampled_from([None, None, None, Happening.FAILED, Happening.FATAL]),
    st.sampled_from([False, False, False, True]),
)


@given(
    plans=st.lists(plans, min_size=1, max_size=24),
    max_batch=st.sampled_from([1, 2, 3, 8, 64]),
    max_attempts=st.integers(1, 5),
    passivated=st.booleans(),
)
def test_a_culprit_ends_alone_and_its_neighbours_go_on(
    plans: list[Plan], max_batch: int, max_attempts: int, *, passivated: bool
) -> None:
    """Poison is abandoned alone, all others are consumed in order, in a bounded number of runs."""
    trial = Trial(Shell(DriverOptions(max_batch=max_batch, max_attempts=max_attempts)))
    for plan in plans:
        if not plan.late:
            trial.publish(plan)
    late = [plan for plan in plans if plan.late]
    bound = _bound(len(plans), sum(plan.poison is not None for plan in plans), trial.shell.options)
    while late or trial.shell.driver.stored().inputs:
        assert len(trial.batches) < bound, "too many runs"
        if late:
            trial.publish(late.pop())
        trial.run()
        note(f"{[name(input_id) for input_id in trial.batches[-1]]}")
        if passivated:
            trial.shell.activate()
            trial.shell.commit()
    for record in trial.shell.store.inputs.values():
        trial.check(record)


@dataclass
class Trial:
    """A runtime, its poison, and the batches that were run."""

    shell: Shell
    senders: Senders = field(default_factory=Senders)
    poison: dict[InputId, Happening] = field(default_factory=dict)
    batches: list[tuple[InputId, ...]] = field(default_factory=list)

    def publish(self, plan: Plan = _FLOW_STEP) -> InputId:
        """Publish an input, and remember what it will do."""
        self.send(Publish(plan.kind, plan.hint))
        input_id = self.senders.input_ids()[-1]
        if plan.poison is not None:
            self.poison[input_id] = plan.poison
        return input_id

    def run(self) -> None:
        """Begin the next run as soon as it may begin, and end it as its inputs decide."""
        retry = self.shell.driver.runtime.retry
        if retry is not None:
            self.shell.until(retry.not_before)
        start = self.shell.start(named(2, self.senders.number()))
        assert isinstance(start, outcomes.RunStart), "inputs wait, and no run begins"
        self.commit()
        self.batches.append(start.input_ids)
        fates = [self.poison[it] for it in start.input_ids if it in self.poison]
        for happening in [Happening.STARTED, fates[0]] if fates else _WELL:
            assert isinstance(self.send(Happen(happening)), outcomes.Ok)

    def send(self, sent: Sent) -> outcomes.Outcome:
        """Send a message, apply it and commit."""
        mail = self.senders.send(sent)
        assert mail is not None
        outcome = self.shell.deliver(mail, self.shell.known([mail]))
        self.commit()
        return outcome

    def commit(self) -> None:
        """Commit what the driver took, and let the senders see it."""
        self.shell.commit()
        self.senders.observe(self.shell.driver.stored())

    def check(self, record: InputRecord) -> None:
        """The guilty stood alone when it was given up, the innocent was applied."""
        if record.input_id not in self.poison:
            assert record.state is InputState.CONSUMED
            return
        assert record.outcome == outcomes.Abandoned(AbandonReason.ATTEMPTS_EXHAUSTED)
        last = [batch for batch in self.batches if record.input_id in batch][-1]
        assert last == (record.input_id,)


_WELL = [Happening.STARTED, Happening.BOUNDARY, Happening.COMPLETED]


def _bound(inputs: int, culprits: int, options: DriverOptions) -> int:
    """A run for each input, and for each culprit bisections over and over, then its attempts."""
    halvings = int(log2(options.max_batch)) + 2
    return inputs + culprits * (halvings**2 + options.max_attempts) + 1


@given(failures=st.integers(1, 8), size=st.integers(2, 6), max_attempts=st.integers(1, 5))
def test_attempts_in_company_never_end_an_input(
    failures: int, size: int, max_attempts: int
) -> None:
    """A run that fails in company ends no input; one that fails alone ends that one at most."""
    trial = Trial(Shell(DriverOptions(max_attempts=max_attempts)))
    for _ in range(size):
        trial.publish(Plan(InputKind.FLOW_STEP, None, Happening.FAILED))
    for _ in range(failures):
        before = {record.input_id for record in trial.shell.driver.stored().inputs}
        if not before:
            break
        trial.run()
        gone = before - {record.input_id for record in trial.shell.driver.stored().inputs}
        assert not gone or gone == set(trial.batches[-1])
        assert len(gone) <= 1


def test_what_was_cancelled_during_backoff_is_not_run() -> None:
    """An input cancelled while its batch waits for its retry is in no later run."""
    trial = Trial(Shell(DriverOptions()))
    cancelled = trial.publish()
    trial.publish(Plan(InputKind.FLOW_STEP, None, Happening.FAILED))
    trial.run()
    assert isinstance(trial.send(Order(commands.CancelInput, which=1)), outcomes.Report)
    trial.run()
    assert cancelled not in trial.batches[-1]


def test_a_run_forced_ahead_of_a_retry_leaves_the_retry_its_timer() -> None:
    """Somebody wakes the runtime for what still waits, whatever ran before its time."""
    trial = Trial(Shell(DriverOptions(max_batch=1)))
    trial.publish(Plan(InputKind.PROMPT, None, Happening.FAILED))
    trial.publish(Plan(InputKind.PROMPT, HandlingMode.STEER, None))
    trial.shell.start(named(2, trial.senders.number()))
    trial.commit()
    trial.send(Happen(Happening.FAILED))
    trial.shell.start(named(2, trial.senders.number()), forced=True)
    trial.commit()
    for happening in _WELL:
        trial.send(Happen(happening))
    plan = trial.shell.driver.runtime.retry
    assert plan is not None
    assert trial.shell.store.timers[TimerKind.RETRY].due_at == plan.not_before
