"""Rendering: what a run appends to the conversation on behalf of its inputs.

The wording is that of meerkat-runtime 0.5.0, so that an agent reads the same whichever of the two
feeds it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, Final, assert_never

import msgspec

from schemas.content import Block, Text
from schemas.inputs import (
    Continuation,
    ExternalEvent,
    ExternalSource,
    FlowStep,
    Input,
    InputKind,
    Operation,
    Peer,
    PeerSource,
    Prompt,
    TurnMetadata,
    kind_of,
)
from schemas.runs import Append, Boundary, StagedInput

Content = str | tuple[Block, ...]

_ACCUMULATED: Final = ("skill_references", "additional_instructions")
_SCALARS: Final = tuple(
    item.name for item in msgspec.structs.fields(TurnMetadata) if item.name not in _ACCUMULATED
)


def staged_input(boundary: Boundary, items: Sequence[Input]) -> StagedInput:
    """Render the inputs of a run, in order, as the primitive that its executor performs."""
    contents = (content(item) for item in items)
    return StagedInput(
        boundary=boundary,
        appends=tuple(Append("user", each) for each in contents if each is not None),
        contributing_input_ids=tuple(item.header.id for item in items),
        turn_metadata=merged(turn_metadata(item) for item in items),
    )


# --- content -------------------------------------------------------------------------------------


def content(item: Input) -> Content | None:
    """Render what one input appends; None if it appends nothing."""
    match item:
        case Prompt():
            return item.blocks or item.text
        case FlowStep():
            return item.blocks or item.instructions
        case Peer():
            return _peer_content(item)
        case ExternalEvent():
            return _event_content(item)
        case Continuation() | Operation():
            return None
        case _:
            assert_never(item)


def _peer_content(item: Peer) -> Content:
    if not item.blocks:
        return item.body
    lead = _peer_lead(item)
    return item.blocks if lead is None else (lead, *item.blocks)


def _peer_lead(item: Peer) -> Text | None:
    """Say first what blocks alone do not: who a message is from, or what else it says."""
    source = item.header.source
    if kind_of(item) is InputKind.PEER_MESSAGE and isinstance(source, PeerSource):
        return Text(f"[COMMS MESSAGE from {source.peer_id}]")
    body = Text(item.body)
    said = not item.body or body in (item.blocks or ())
    return None if said else body


def _event_content(item: ExternalEvent) -> Content:
    text = _event_text(item)
    return (Text(text), *item.blocks) if item.blocks else text


def _event_text(item: ExternalEvent) -> str:
    source = item.header.source
    named = isinstance(source, ExternalSource) and source.source_name.strip()
    name = source.source_name if isinstance(source, ExternalSource) and named else item.event_type
    body = item.payload.get("body") if isinstance(item.payload, dict) else None
    said = body.strip() if isinstance(body, str) else ""
    return f"[EVENT via {name}] {said}".rstrip()


# --- turn metadata -------------------------------------------------------------------------------


def turn_metadata(item: Input) -> TurnMetadata | None:
    """Tell what one input contributes to the turn's metadata."""
    match item:
        case Prompt() | FlowStep():
            return item.turn_metadata
        case ExternalEvent():
            return TurnMetadata(
                handling_mode=item.handling_mode, render_metadata=item.render_metadata
            )
        case Continuation():
            return TurnMetadata(handling_mode=item.handling_mode)
        case Peer() | Operation():
            return None
        case _:
            assert_never(item)


def merged(contributions: Iterable[TurnMetadata | None]) -> TurnMetadata | None:
    """Merge metadata over a batch: lists accumulate, anything else is as the last to say so.

    None if no input contributes any.
    """
    given = [each for each in contributions if each is not None]
    if not given:
        return None
    fields: dict[str, Any] = {name: _last(given, name) for name in _SCALARS}
    for name in _ACCUMULATED:
        fields[name] = _together(given, name)
    return TurnMetadata(**fields)


def _last(given: Sequence[TurnMetadata], name: str) -> object:
    said = (getattr(each, name) for each in reversed(given))
    return next((value for value in said if value is not None), None)


def _together(given: Sequence[TurnMetadata], name: str) -> tuple[object, ...] | None:
    said = (getattr(each, name) or () for each in given)
    return tuple(chain.from_iterable(said)) or None
