"""The policy table: every row, from the specification by hand; and the files that override it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from schemas.inputs import HandlingMode, Input, InputKind, handling_hint, kind_of
from schemas.lifecycle import Lane
from schemas.policy import PolicyDecision, RoutingDisposition
from tests.unit.driver.scene import (
    QUEUE,
    STEER,
    continuation,
    external_event,
    flow_step,
    operation,
    peer_message,
    peer_progress,
    peer_request,
    peer_terminal,
    prompt,
)
from worker.driver.policy import DEFAULT_POLICY, PolicyError, load_policy, silenced

_COLUMNS = (
    "apply_mode",
    "wake_mode",
    "queue_mode",
    "consume_point",
    "interrupt_policy",
    "drain_policy",
    "routing_disposition",
    "record_transcript",
)
_START = "stage_run_start"
_BOUNDARY = "stage_run_boundary"
_YIELD = "interrupt_yielding"
_IDLE_QUEUED = f"{_START} wake_if_idle fifo on_run_complete none queue_next_turn queue yes"
_BUSY_QUEUED = f"{_START} none fifo on_run_complete none queue_next_turn queue yes"
_BUSY_PEER = f"{_START} {_YIELD} fifo on_run_complete {_YIELD} queue_next_turn queue yes"
_IDLE_STEERED = f"{_BOUNDARY} wake_if_idle fifo on_run_complete {_YIELD} steer_batch steer"
_BUSY_STEERED = f"{_BOUNDARY} {_YIELD} fifo on_run_complete {_YIELD} steer_batch steer"
_PROGRESS = f"{_BOUNDARY} none coalesce on_run_complete none steer_batch steer yes"
_RECORDED = "ignore none priority on_accept none ignore drop no"


@pytest.mark.parametrize(
    ("make", "idle", "busy"),
    [
        (prompt, _IDLE_QUEUED, _BUSY_QUEUED),
        (lambda: prompt(QUEUE), _IDLE_QUEUED, _BUSY_QUEUED),
        (lambda: prompt(STEER), f"{_IDLE_STEERED} yes", f"{_BUSY_STEERED} yes"),
        (flow_step, _IDLE_QUEUED, _BUSY_QUEUED),
        (lambda: flow_step(STEER), f"{_IDLE_STEERED} yes", f"{_BUSY_STEERED} yes"),
        (external_event, _IDLE_QUEUED, _BUSY_QUEUED),
        (lambda: external_event(STEER), f"{_IDLE_STEERED} yes", f"{_BUSY_STEERED} yes"),
        (peer_terminal, _IDLE_QUEUED, _BUSY_QUEUED),
        (peer_message, _IDLE_QUEUED, _BUSY_PEER),
        (peer_request, _IDLE_QUEUED, _BUSY_PEER),
        (peer_progress, _PROGRESS, _PROGRESS),
        (
            continuation,
            _IDLE_QUEUED.replace(" yes", " no"),
            _BUSY_QUEUED.replace(" yes", " no"),
        ),
        (lambda: continuation(STEER), f"{_IDLE_STEERED} no", f"{_BUSY_STEERED} no"),
        (operation, _RECORDED, _RECORDED),
    ],
)
def test_every_row_is_as_the_specification_says(
    make: Callable[[], Input], idle: str, busy: str
) -> None:
    """Each kind and hint, in an idle runtime and in a busy one."""
    item = make()
    kind, hint = kind_of(item), handling_hint(item)
    assert _cells(DEFAULT_POLICY.resolve(kind, hint, idle=True)) == idle
    assert _cells(DEFAULT_POLICY.resolve(kind, hint, idle=False)) == busy


@pytest.mark.parametrize("idle", [True, False])
def test_rows_that_no_message_asks_for_are_as_the_specification_says(*, idle: bool) -> None:
    """Continuations without a hint steer; what is unknown waits and wakes nobody."""
    steered = _IDLE_STEERED if idle else _BUSY_STEERED
    by_kind = DEFAULT_POLICY.resolve(InputKind.CONTINUATION, idle=idle)
    assert _cells(by_kind) == f"{steered} no"
    assert _cells(DEFAULT_POLICY.resolve(InputKind.UNKNOWN, idle=idle)) == _BUSY_QUEUED


def _cells(decision: PolicyDecision) -> str:
    values = msgspec.to_builtins(decision)
    assert values["emit_operator_content"] == values["record_transcript"]
    assert values["policy_version"] == 1
    shown = {True: "yes", False: "no"}
    return " ".join(shown.get(values[name], values[name]) for name in _COLUMNS)


def test_the_route_decides_the_lane() -> None:
    """Steer leads to the steer lane, anything else to the queue."""
    plain = DEFAULT_POLICY.resolve(InputKind.PROMPT, idle=True)
    for route in RoutingDisposition:
        decision = msgspec.structs.replace(plain, routing_disposition=route)
        assert decision.lane is (Lane.STEER if route == "steer" else Lane.QUEUE)


def test_a_silent_intent_waits_for_the_start_of_a_run_and_wakes_nobody() -> None:
    """The override changes when it is applied and whom it wakes, and nothing else."""
    decision = DEFAULT_POLICY.resolve(InputKind.PEER_REQUEST, idle=False)
    expected = msgspec.to_builtins(decision) | {"apply_mode": _START, "wake_mode": "none"}
    assert msgspec.to_builtins(silenced(decision)) == expected


def test_waiting_inputs_share_their_decision() -> None:
    """A lookup makes nothing new."""
    first = DEFAULT_POLICY.resolve(InputKind.PROMPT, QUEUE, idle=True)
    assert DEFAULT_POLICY.resolve(InputKind.PROMPT, QUEUE, idle=True) is first


# --- policy files --------------------------------------------------------------------------------


def test_a_file_lays_its_rows_over_version_1() -> None:
    """Fields that it names are changed, all others stay; decisions carry its version."""
    table = load_policy('version = 7\n[kind.peer_message]\nwake_busy = "none"\ntranscript = false')
    decision = table.resolve(InputKind.PEER_MESSAGE, idle=False)
    expected = msgspec.to_builtins(DEFAULT_POLICY.resolve(InputKind.PEER_MESSAGE, idle=False)) | {
        "wake_mode": "none",
        "record_transcript": False,
        "emit_operator_content": False,
        "policy_version": 7,
    }
    assert msgspec.to_builtins(decision) == expected
    untouched = table.resolve(InputKind.PROMPT, idle=True)
    plain = DEFAULT_POLICY.resolve(InputKind.PROMPT, idle=True)
    assert untouched == msgspec.structs.replace(plain, policy_version=7)


def test_a_file_may_override_hints() -> None:
    """A hint's row is laid over as a kind's is."""
    table = load_policy('version = 2\n[hint.steer]\nwake_busy = "none"')
    assert table.resolve(InputKind.PROMPT, STEER, idle=False).wake_mode == "none"


@pytest.mark.parametrize(
    ("hint", "mode"),
    [(QUEUE, "supersede"), (STEER, "fifo"), (None, "supersede")],
)
def test_a_row_for_external_events_decides_unless_they_steer(
    hint: HandlingMode | None, mode: str
) -> None:
    """The handling mode that a publisher need not say is no hint against the deployment's row."""
    table = load_policy('version = 2\n[kind.external_event]\nqueue_mode = "supersede"')
    assert table.resolve(InputKind.EXTERNAL_EVENT, hint, idle=True).queue_mode == mode


def test_a_row_for_prompts_does_not_outrank_a_hint() -> None:
    """A prompt's hint was said by its publisher, and decides first."""
    table = load_policy('version = 2\n[kind.prompt]\nqueue_mode = "supersede"')
    assert table.resolve(InputKind.PROMPT, QUEUE, idle=True).queue_mode == "fifo"
    assert table.resolve(InputKind.PROMPT, idle=True).queue_mode == "supersede"


_VERSION = "version: expected an integer above 1"
_TOGETHER = (
    "kind.prompt: apply_mode ignore, consume_point on_accept and routing_disposition drop "
    "go together: all of them, or none"
)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("version = 2\n[kind.prompt", "the file: expected TOML: "),
        ("", _VERSION),
        ("version = 1", _VERSION),
        ("version = true", _VERSION),
        ('version = "2"', _VERSION),
        ("version = 2\nrows = 1", "the file: rows is not one of version, kind, hint"),
        ("version = 2\nkind = 1", "kind: expected tables such as [kind.prompt]"),
        ("version = 2\nhint = []", "hint: expected tables such as [hint.steer]"),
        ("version = 2\n[kind.promt]", "kind: promt is not one of prompt, peer_message, "),
        ("version = 2\n[hint.shout]", "hint: shout is not one of queue, steer"),
        ("version = 2\n[kind]\nprompt = 1", "kind.prompt: expected a table of fields"),
        ("version = 2\n[kind.prompt]\nwake = 1", "kind.prompt: wake is not one of apply_mode, "),
        (
            'version = 2\n[kind.prompt]\nwake_idle = "always"',
            "kind.prompt: wake_idle: expected one of wake_if_idle, interrupt_yielding, none, got ",
        ),
        (
            "version = 2\n[kind.prompt]\ntranscript = 3",
            "kind.prompt: transcript: expected true or false, got int",
        ),
        (
            'version = 2\n[kind.prompt]\napply_mode = "inject_now"',
            "kind.prompt: apply_mode: expected one of stage_run_start, stage_run_boundary, ignore",
        ),
        (
            'version = 2\n[kind.prompt]\nconsume_point = "on_apply"',
            "kind.prompt: consume_point: expected one of on_run_complete, on_accept",
        ),
        (
            'version = 2\n[hint.steer]\nrouting_disposition = "immediate"',
            "hint.steer: routing_disposition: expected one of queue, steer, drop",
        ),
        ('version = 2\n[kind.prompt]\napply_mode = "ignore"', _TOGETHER),
        ('version = 2\n[kind.prompt]\nrouting_disposition = "drop"', _TOGETHER),
        ('version = 2\n[kind.prompt]\nconsume_point = "on_accept"', _TOGETHER),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_row_and_field(text: str, problem: str) -> None:
    """The sentence names what is wrong and what was expected."""
    with pytest.raises(PolicyError) as refused:
        load_policy(text)
    assert str(refused.value).startswith(problem)
