"""Drafts and commands as their authors write them."""

import typing

import msgspec
import pytest

import worker.client.commands
from schemas import commands
from schemas.inputs import HandlingMode, TurnMetadata, handling_hint, payload_digest
from schemas.lifecycle import AbandonReason
from worker.client import (
    AbandonPending,
    CancelInput,
    CancelRun,
    Continuation,
    ExternalEvent,
    FlowStep,
    Prompt,
    Retire,
    SetSilentIntents,
)


def test_a_draft_keeps_its_id_and_two_drafts_differ() -> None:
    """The same object is the same input; the same words are not."""
    draft = Prompt("hi")
    assert draft.to_input() == draft.to_input()
    assert draft.to_input().header.id == draft.id
    assert Prompt("hi").id != draft.id


def test_drafts_of_one_id_and_one_text_are_the_same_payload() -> None:
    """A publisher that makes its draft anew after a crash is recognised, whatever the time."""
    draft = Prompt("hi", key="k")
    again = Prompt("hi", key="k", id=draft.id)
    assert payload_digest(draft.to_input()) == payload_digest(again.to_input())


@pytest.mark.parametrize(
    "draft",
    [
        Prompt("hi", steer=True),
        Prompt("hi", steer=True, turn_metadata=TurnMetadata(model="m")),
        FlowStep("s", "do", flow="f", index=0, steer=True),
        ExternalEvent("e", steer=True),
        Continuation("r", steer=True),
    ],
)
def test_steer_is_the_steering_hint(draft: Prompt | FlowStep | ExternalEvent) -> None:
    """The flag ends where the policy table looks."""
    assert handling_hint(draft.to_input()) is HandlingMode.STEER


def test_steer_leaves_other_turn_metadata_alone() -> None:
    """It sets one field."""
    made = Prompt("hi", steer=True, turn_metadata=TurnMetadata(model="m")).to_input()
    assert made.turn_metadata == TurnMetadata(model="m", handling_mode=HandlingMode.STEER)


@pytest.mark.parametrize(
    "command",
    [
        Retire(),
        CancelRun(),
        CancelInput(Prompt("hi").id),
        AbandonPending(AbandonReason.CANCELLED),
        SetSilentIntents(("noise",)),
    ],
)
def test_a_command_is_the_wire_command_with_an_id_of_its_own(command: commands.Command) -> None:
    """What a worker decodes has the same fields."""
    decoded = msgspec.json.decode(msgspec.json.encode(command), type=commands.Command)
    assert msgspec.structs.asdict(decoded) == msgspec.structs.asdict(command)
    assert isinstance(command, type(decoded))


def test_every_command_of_the_wire_can_be_given() -> None:
    """None is left out."""
    given = vars(worker.client.commands).values()
    offered = {_tag(each) for each in given if isinstance(each, type) and hasattr(each, TAGGED)}
    assert offered == {_tag(each) for each in typing.get_args(commands.Command)}


TAGGED = "__struct_config__"


def _tag(command: type[msgspec.Struct]) -> object:
    return command.__struct_config__.tag
