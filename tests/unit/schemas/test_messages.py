"""Every type of message: good bodies decode and come back whole, bad ones name their fault."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from schemas.commands import Command, CommandReport
from schemas.envelope import MessageType, Registration, Signal
from schemas.errors import MalformedError
from schemas.events import RuntimeEventEnvelope
from schemas.inputs import WireInput
from schemas.outcomes import Completion
from schemas.runs import RunEvent, RunRequest
from tests.unit.schemas.examples import BAD, COMMAND_REPORT, GOOD, Example, bad, decoded, good

TYPES: dict[str, Any] = {
    MessageType.INPUT: WireInput,
    MessageType.RUN_EVENT: RunEvent,
    MessageType.COMMAND: Command,
    MessageType.RUN_REQUEST: RunRequest,
    MessageType.SIGNAL: Signal,
    MessageType.RUNTIME_EVENT: RuntimeEventEnvelope,
    MessageType.COMPLETION: Completion,
    MessageType.REGISTRATION: Registration,
    COMMAND_REPORT: CommandReport,
}


def test_every_type_has_good_and_bad_examples() -> None:
    assert set(GOOD) == set(MessageType) | {COMMAND_REPORT} == {kind for kind, *_ in BAD}


@pytest.mark.parametrize("example", good(), ids=str)
def test_a_good_message_decodes_and_comes_back_whole(example: Example) -> None:
    message = decoded(example.kind, example.body)
    again = msgspec.json.decode(msgspec.json.encode(message), type=TYPES[example.kind])
    assert again == message


@pytest.mark.parametrize("example", bad(), ids=str)
def test_a_bad_message_is_malformed_at_the_path_of_its_fault(example: Example) -> None:
    with pytest.raises(MalformedError) as caught:
        decoded(example.kind, example.body)
    assert caught.value.path == example.path
    assert str(caught.value) == f"{example.path}: {caught.value.problem}"
    assert caught.value.problem.startswith("expected ")
