"""Rendering: what a run appends, and the metadata of its turn."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from schemas.content import Block, Image, Text
from schemas.inputs import (
    Convention,
    ExternalEvent,
    ExternalSource,
    FlowStep,
    Input,
    Operation,
    OperationCancelled,
    OperatorSource,
    Peer,
    PeerMessage,
    PeerRequest,
    PeerSource,
    Prompt,
    RenderMetadata,
    SkillReference,
    Source,
    SystemSource,
    TurnMetadata,
)
from schemas.runs import Append, StagedInput
from tests.unit.driver.scene import (
    CHECKPOINT,
    QUEUE,
    RUN_START,
    STEER,
    continuation,
    external_event,
    flow_step,
    header,
    peer_message,
    prompt,
)
from worker.driver.render import content, merged, staged_input

_IMAGE = Image("image/png", "inline", data="aGk=")
_BLOCKS: tuple[Block, ...] = (Text("look"), _IMAGE)
_REQUEST = PeerRequest("r-1", "ask")


def _peer(
    convention: Convention | None,
    blocks: tuple[Block, ...] | None = None,
    *,
    body: str = "hi",
    source: Source | None = None,
) -> Peer:
    return Peer(header(source or PeerSource("ada")), body, convention, blocks)


def _event(
    payload: object, blocks: tuple[Block, ...] | None = None, source: Source | None = None
) -> ExternalEvent:
    return ExternalEvent(header(source or ExternalSource("webhook")), "push", payload, blocks)


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (prompt(text="hello"), "hello"),
        (Prompt(header(), "hello", _BLOCKS), _BLOCKS),
        (Prompt(header(), "hello", ()), "hello"),
        (flow_step(), "do it"),
        (FlowStep(header(), "step-1", "do it", _BLOCKS), _BLOCKS),
        (_peer(PeerMessage()), "hi"),
        (_peer(PeerMessage(), _BLOCKS), (Text("[COMMS MESSAGE from ada]"), *_BLOCKS)),
        (_peer(None, _BLOCKS), (Text("[COMMS MESSAGE from ada]"), *_BLOCKS)),
        (_peer(PeerMessage(), _BLOCKS, source=SystemSource()), (Text("hi"), *_BLOCKS)),
        (_peer(_REQUEST, _BLOCKS), (Text("hi"), *_BLOCKS)),
        (_peer(_REQUEST, _BLOCKS, body="look"), _BLOCKS),
        (_peer(_REQUEST, _BLOCKS, body=""), _BLOCKS),
        (_event({}), "[EVENT via webhook]"),
        (_event({"body": " done \n"}), "[EVENT via webhook] done"),
        (_event({"body": " "}), "[EVENT via webhook]"),
        (_event({"body": 3}), "[EVENT via webhook]"),
        (_event(["body"]), "[EVENT via webhook]"),
        (_event({}, source=OperatorSource()), "[EVENT via push]"),
        (_event({}, source=ExternalSource(" ")), "[EVENT via push]"),
        (_event({"body": "x"}, _BLOCKS), (Text("[EVENT via webhook] x"), *_BLOCKS)),
        (continuation(), None),
        (Operation(header(), "op-1", OperationCancelled("op-1")), None),
    ],
)
def test_an_input_appends_what_the_specification_says(
    item: Input, expected: str | tuple[Block, ...] | None
) -> None:
    """Its text, or its blocks with what they leave unsaid in front; some append nothing."""
    assert content(item) == expected


def test_a_run_appends_one_message_an_input_in_order() -> None:
    """All inputs contribute, also those that append nothing."""
    items = (prompt(text="one"), continuation(STEER), flow_step())
    primitive = staged_input(CHECKPOINT, items)
    assert primitive == StagedInput(
        boundary=CHECKPOINT,
        appends=(Append("user", "one"), Append("user", "do it")),
        contributing_input_ids=tuple(item.header.id for item in items),
        turn_metadata=TurnMetadata(handling_mode=STEER),
    )


def test_a_run_of_inputs_without_metadata_has_none() -> None:
    """Nothing is made up."""
    assert staged_input(RUN_START, (prompt(), peer_message())).turn_metadata is None


def test_later_scalars_win_and_lists_accumulate() -> None:
    """What a later input leaves unsaid stays as the earlier one said it."""
    one, two = SkillReference("a", "one"), SkillReference("b", "two")
    first = TurnMetadata(
        keep_alive=True,
        model="small",
        provider="one",
        provider_params={"t": 1},
        skill_references=(one,),
        additional_instructions=("be brief",),
    )
    second = TurnMetadata(
        handling_mode=QUEUE,
        keep_alive=False,
        model="large",
        skill_references=(two,),
        additional_instructions=("be kind", "be brief"),
    )
    assert merged([first, None, second]) == TurnMetadata(
        handling_mode=QUEUE,
        keep_alive=False,
        model="large",
        provider="one",
        provider_params={"t": 1},
        skill_references=(one, two),
        additional_instructions=("be brief", "be kind", "be brief"),
    )


def test_events_contribute_how_they_are_to_be_handled_and_shown() -> None:
    """Their fields stand where a prompt's metadata stands."""
    event = replace(external_event(STEER), render_metadata=RenderMetadata("alert", "high"))
    assert staged_input(RUN_START, (event,)).turn_metadata == TurnMetadata(
        handling_mode=STEER, render_metadata=RenderMetadata("alert", "high")
    )
