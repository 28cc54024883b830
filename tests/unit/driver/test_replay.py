"""Replay: a trace in, a line out for each line, in exactly the format of the contract."""

from __future__ import annotations

import json
from typing import Any

import pytest

from worker.driver.options import DriverOptions
from worker.driver.replay import ReplayError, replay

_ONE = "00000000-0000-7000-8000-000000000001"
_TWO = "00000000-0000-7000-8000-000000000002"
_RUN = "00000000-0000-7000-8000-00000000000a"
_AT = '"at":"2026-01-01T00:00:00Z"'

_POLICY = (
    '"policy":{"apply_mode":"stage_run_start","consume_point":"on_run_complete",'
    '"drain_policy":"queue_next_turn","emit_operator_content":true,"interrupt_policy":"none",'
    '"policy_version":1,"queue_mode":"fifo","record_transcript":true,'
    '"routing_disposition":"queue","wake_mode":"wake_if_idle"}'
)


def _prompt(input_id: str, text: str = "hello", *, more: str = "") -> str:
    header = f'{{"id":"{input_id}","source":{{"type":"operator"}}{more}}}'
    body = f'{{"input_type":"prompt","header":{header},"text":"{text}"}}'
    return f'{{"op":"accept",{_AT},"input":{body}}}'


def _event(kind: str, rest: str = "") -> str:
    return f'{{"op":"run_event",{_AT},"event":{{"event_type":"{kind}","run_id":"{_RUN}"{rest}}}}}'


def _command(name: str, number: int, rest: str = "") -> str:
    command_id = f"00000000-0000-7000-8000-0000000000c{number}"
    body = f'{{"command":"{name}","command_id":"{command_id}"{rest}}}'
    return f'{{"op":"command",{_AT},"command":{body}}}'


def _input(state: str, outcome: str, run: str, sequence: str, attempts: int) -> str:
    return (
        f'{{"attempt_count":{attempts},"last_boundary_sequence":{sequence},'
        f'"last_run_id":{run},"outcome":{outcome},"state":"{state}"}}'
    )


_CONSUMED = '{"outcome_type":"consumed"}'
_START = f'{{"op":"start_run",{_AT},"run_id":"{_RUN}"}}'
_BOUNDARY = _event(
    "boundary_applied",
    f',"receipt":{{"run_id":"{_RUN}","boundary":"run_start","contributing_input_ids":["{_ONE}"],'
    '"message_count":1,"sequence":0}',
)


def _steps(*lines: str, options: DriverOptions | None = None) -> list[dict[str, Any]]:
    return [json.loads(line) for line in replay(lines, options)]


def test_a_life_is_told_in_exactly_these_lines() -> None:
    """Every character of a run from accept to completion, keys sorted, nothing left out."""
    lines = [_prompt(_ONE), _START, _event("run_started"), _BOUNDARY]
    lines.append(_event("run_completed", f',"consumed_input_ids":["{_ONE}"]'))
    run = f'"{_RUN}"'
    receipts = f'[["{_RUN}",0]]'
    ids = f'{{"{_ONE}":%s}}'
    queued = ids % _input("queued", "null", "null", "null", 0)
    staged = ids % _input("staged", "null", run, "null", 1)
    applied = ids % _input("applied_pending_consumption", "null", run, "0", 1)
    consumed = ids % _input("consumed", _CONSUMED, run, "0", 1)
    accepted = f'{{"input_id":"{_ONE}","kind":"accepted",{_POLICY}}}'
    request = (
        f'{{"boundary":"run_start","input_ids":["{_ONE}"],"kind":"run_request","run_id":{run}}}'
    )
    well = '{"kind":"ok"}'
    assert list(replay(lines)) == [
        _line("null", queued, accepted, f'["{_ONE}"]', "[]", "idle", "true"),
        _line(run, staged, request, "[]", "[]", "running", "false"),
        _line(run, "{}", well, "[]", "[]", "running", "false"),
        _line(run, applied, well, "[]", receipts, "running", "false"),
        _line("null", consumed, well, "[]", receipts, "idle", "false"),
    ]


def _line(run: str, inputs: str, outcome: str, *rest: str) -> str:
    queue, receipts, state, wake = rest
    return (
        f'{{"current_run":{run},"inputs":{inputs},"outcome":{outcome},"queue":{queue},'
        f'"receipts":{receipts},"runtime_state":"{state}","steer":[],"wake":{wake}}}'
    )


def test_every_outcome_has_its_shape() -> None:
    """What the shell alone needs is left out."""
    derived = _prompt(_TWO, more=',"durability":"derived"')
    trace = [
        derived,
        _prompt(_ONE),
        _prompt(_ONE),
        _prompt(_ONE, "other"),
        _event("run_started"),
        _START,
        _START,
        _event("run_completed", ',"consumed_input_ids":[]'),
        _event("run_cancelled"),
        _event("run_heartbeat"),
        _command("detach", 1),
        _command("retire", 2),
        _prompt(_TWO),
    ]
    outcomes = [step["outcome"] for step in _steps(*trace)]
    kinds = [outcome["kind"] for outcome in outcomes]
    assert kinds == [
        "rejected",
        "accepted",
        "deduplicated",
        "conflict",
        "refused",
        "run_request",
        "nothing_to_run",
        "refused",
        "ok",
        "stale",
        "refused",
        "report",
        "not_ready",
    ]
    assert [set(outcome) - {"kind"} for outcome in outcomes] == [
        {"reason"},
        {"input_id", "policy"},
        {"input_id", "existing_id"},
        {"input_id", "existing_digest", "digest"},
        {"reason"},
        {"run_id", "input_ids", "boundary"},
        set(),
        {"reason"},
        set(),
        set(),
        {"reason"},
        {"command", "counts", "details"},
        {"state"},
    ]
    assert outcomes[-1]["state"] == "retired"


def test_a_run_begins_woken_or_not_and_before_its_time() -> None:
    """Traces say themselves when a run begins."""
    silent = '{"op":"set_silent_intents","intents":["gossip"]}'
    convention = '"convention":{"convention_type":"request","request_id":"r","intent":"gossip"}'
    header = f'{{"id":"{_ONE}","source":{{"type":"peer","peer_id":"ada"}}}}'
    request = f'{{"input_type":"peer","header":{header},{convention},"body":"psst"}}'
    failed = _event("run_failed", ',"error":"boom","recoverable":true')
    again = _START.replace("0a", "0b")
    accept = f'{{"op":"accept",{_AT},"input":{request}}}'
    steps = _steps(silent, accept, _START, failed, again)
    assert [step["wake"] for step in steps] == [False] * 5
    assert [step["current_run"] for step in steps] == [None, None, _RUN, None, _RUN[:-1] + "b"]
    report = {"kind": "report", "command": "set_silent_intents"}
    assert steps[0]["outcome"] == {**report, "counts": {"intents": 1}, "details": []}


def test_recovery_drops_the_driver_and_recovers_it() -> None:
    """Adopting a live run or not, as the line says; what the store knows is known."""
    recover = f'{{"op":"recover",{_AT}}}'
    adopting = f'{{"op":"recover",{_AT},"adopt_live_runs":true}}'
    steps = _steps(_prompt(_ONE), _START, adopting, recover, _event("run_started"), _prompt(_ONE))
    assert [step["current_run"] for step in steps[2:4]] == [_RUN, None]
    assert steps[3]["outcome"] == {
        "kind": "report",
        "command": "recover",
        "counts": {"inputs_recovered": 1, "inputs_requeued": 1, "inputs_abandoned": 0},
        "details": [f"run {_RUN} did not survive"],
    }
    assert (steps[3]["queue"], steps[3]["wake"]) == ([_ONE], True)
    assert [step["outcome"]["kind"] for step in steps[4:]] == ["stale", "deduplicated"]


def test_what_has_ended_is_still_known() -> None:
    """Inputs by id and key, runs, and commands: as a store would know them."""
    key = ',"idempotency_key":"k"'
    wake = _command("wake", 1)
    completed = _event("run_completed", f',"consumed_input_ids":["{_ONE}"]')
    trace = [wake, _prompt(_ONE, more=key), _START, _BOUNDARY, completed]
    steps = _steps(*trace, completed, _prompt(_ONE, more=key), _prompt(_TWO, more=key), wake)
    assert [step["outcome"]["kind"] for step in steps[5:8]] == [
        "stale",
        "deduplicated",
        "deduplicated",
    ]
    assert steps[7]["outcome"]["existing_id"] == _ONE
    assert steps[8]["outcome"] == steps[0]["outcome"]


def test_silent_intents_may_be_set_again() -> None:
    """Each such line is a command of its own."""
    steps = _steps(*(f'{{"op":"set_silent_intents","intents":{each}}}' for each in ("[]", '["a"]')))
    assert [step["outcome"]["counts"]["intents"] for step in steps] == [0, 1]


def test_options_are_those_of_the_driver() -> None:
    """A trace of a deployment can be replayed with its settings."""
    fatal = _event("run_failed", ',"error":"boom","recoverable":true')
    steps = _steps(_prompt(_ONE), _START, fatal, options=DriverOptions(max_attempts=1))
    assert steps[2]["inputs"][_ONE]["outcome"] == {
        "outcome_type": "abandoned",
        "reason": "attempts_exhausted",
    }


def test_bytes_and_blank_lines_are_read() -> None:
    """A file may be opened either way, and may end with a newline."""
    assert len(list(replay([_prompt(_ONE).encode(), b"\n", "", b" \n", _START.encode()]))) == 2


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "$: expected JSON: input data was truncated"),
        ("[]", "$: expected object, got array"),
        ('{"op":"dance"}', "$.op: expected a known value"),
        ('{"op":"start_run"}', "$.at: expected a value, got nothing"),
        (f'{{"op":"start_run",{_AT},"run_id":"x"}}', "$.run_id: expected uuid"),
        (f'{{"op":"start_run","at":"2026-01-01T00:00:00","run_id":"{_RUN}"}}', "$.at: "),
        (_command("dance", 1), "$.command.command: expected a known value"),
        (
            _prompt(_ONE).replace('"text":"hello"', '"text":3'),
            "$.input.text: expected str, got int",
        ),
        (b"\xff", "$: expected JSON: "),
    ],
)
def test_a_line_that_is_no_operation_ends_the_replay(line: str | bytes, problem: str) -> None:
    """With its number, after the lines before it were answered."""
    steps = replay([_prompt(_ONE), "", line])
    assert json.loads(next(steps))["queue"] == [_ONE]
    with pytest.raises(ReplayError) as refused:
        next(steps)
    assert refused.value.line_number == 3
    assert refused.value.problem.startswith(problem)
    assert str(refused.value) == f"line 3: {refused.value.problem}"


def test_blocks_hidden_in_a_legacy_payload_must_be_blocks() -> None:
    """The path of what is wrong is that of the line."""
    event = (
        f'{{"input_type":"external_event","header":{{"id":"{_ONE}","source":'
        '{"type":"external","source_name":"web"}},"event_type":"push","payload":{"blocks":[1]}}'
    )
    with pytest.raises(ReplayError, match=r"line 1: .*expected object, got int"):
        list(replay([f'{{"op":"accept",{_AT},"input":{event}}}']))
