"""``publish``: inputs to a runtime, one by its kind or many as JSON lines."""

from __future__ import annotations

import base64
import enum
import mimetypes
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, assert_never

import msgspec
import typer

from schemas.content import Image
from schemas.inputs import (
    OperationCancelled,
    OperationCompleted,
    OperationEvent,
    OperationFailed,
    OperationProgress,
    OperationStarted,
    ProgressPhase,
    ResponseStatus,
)
from worker.cli import lines as json_lines
from worker.cli.faults import Failure
from worker.cli.options import (
    BROKER,
    Json,
    JsonLines,
    RuntimeIdArgument,
    settings_flags,
    source_of,
)
from worker.cli.publishing import Manner, manner_flags, publish
from worker.cli.root import noun
from worker.client import (
    Continuation,
    ExternalEvent,
    FlowStep,
    Operation,
    PeerMessage,
    PeerProgress,
    PeerRequest,
    PeerResponse,
    Prompt,
)
from worker.exits import ExitCode
from worker.settings import Settings

app = noun("publish")

Images = Annotated[
    list[Path] | None,
    typer.Option("--image", exists=True, dir_okay=False, help="Attach an image; repeatable."),
]
Steer = Annotated[bool, typer.Option("--steer", help="Steer what goes on instead of queueing.")]
Peer = Annotated[str, typer.Option("--peer", help="The agent that it comes from.")]
RequestId = Annotated[str, typer.Option("--request-id", help="The request that it is about.")]
Body = Annotated[str, typer.Argument(help="What it says.", show_default=False)]


@app.command()
@manner_flags
def prompt(
    runtime_id: RuntimeIdArgument,
    text: Annotated[str, typer.Argument(help="What is asked.", show_default=False)],
    *,
    image: Images = None,
    steer: Steer = False,
    how: Manner,
) -> None:
    """Publish a prompt: text from a person that asks the agent for a turn.

    Example:  meerkat-worker publish prompt agent-7 "What is new?" --wait 30
    """
    publish(runtime_id, Prompt(text, blocks=_images(image or ()), steer=steer, **how.header), how)


@app.command()
@manner_flags
def message(runtime_id: RuntimeIdArgument, body: Body, *, peer: Peer, how: Manner) -> None:
    """Publish a message from another agent that asks for nothing.

    Example:  meerkat-worker publish message agent-7 "The build is green" --peer builder
    """
    publish(runtime_id, PeerMessage(body, peer=peer, **how.header), how)


@app.command()
@manner_flags
def request(
    runtime_id: RuntimeIdArgument,
    body: Body,
    *,
    peer: Peer,
    request_id: RequestId,
    intent: Annotated[str, typer.Option("--intent", help="What the request is for.")],
    how: Manner,
) -> None:
    """Publish a request from another agent.

    Example:  meerkat-worker publish request agent-7 "Review it" --peer pm --request-id 9
    --intent review
    """
    draft = PeerRequest(body, peer=peer, request_id=request_id, intent=intent, **how.header)
    publish(runtime_id, draft, how)


@app.command()
@manner_flags
def progress(
    runtime_id: RuntimeIdArgument,
    body: Body,
    *,
    peer: Peer,
    request_id: RequestId,
    phase: Annotated[ProgressPhase, typer.Option("--phase")] = ProgressPhase.IN_PROGRESS,
    how: Manner,
) -> None:
    """Publish another agent's progress on a request of this runtime.

    Example:  meerkat-worker publish progress agent-7 "Half done" --peer dev --request-id 9
    """
    draft = PeerProgress(body, peer=peer, request_id=request_id, phase=phase, **how.header)
    publish(runtime_id, draft, how)


@app.command()
@manner_flags
def response(
    runtime_id: RuntimeIdArgument,
    body: Body,
    *,
    peer: Peer,
    request_id: RequestId,
    status: Annotated[ResponseStatus, typer.Option("--status")] = ResponseStatus.COMPLETED,
    how: Manner,
) -> None:
    """Publish another agent's last word on a request of this runtime.

    Example:  meerkat-worker publish response agent-7 "Done" --peer dev --request-id 9
    """
    draft = PeerResponse(body, peer=peer, request_id=request_id, status=status, **how.header)
    publish(runtime_id, draft, how)


@app.command("flow-step")
@manner_flags
def flow_step(
    runtime_id: RuntimeIdArgument,
    step_id: Annotated[str, typer.Argument(metavar="STEP", show_default=False)],
    instructions: Annotated[str, typer.Argument(show_default=False)],
    *,
    flow: Annotated[str, typer.Option("--flow", help="The flow that asks for it.")],
    index: Annotated[int, typer.Option("--index", min=0, help="Its place in the flow.")],
    how: Manner,
) -> None:
    """Publish a step that a flow asks for.

    Example:  meerkat-worker publish flow-step agent-7 draft "Write it" --flow essay --index 0
    """
    publish(runtime_id, FlowStep(step_id, instructions, flow=flow, index=index, **how.header), how)


@app.command()
@manner_flags
def event(
    runtime_id: RuntimeIdArgument,
    event_type: Annotated[str, typer.Argument(metavar="TYPE", show_default=False)],
    *,
    payload: Annotated[str, typer.Option("--payload", help="Any JSON.")] = "null",
    source: Annotated[str, typer.Option("--source", help="Where it happened.")] = "cli",
    steer: Steer = False,
    how: Manner,
) -> None:
    """Publish something that happened outside.

    Example:  meerkat-worker publish event agent-7 push --payload '{"body": "3 commits"}'
    """
    told = _json("--payload", payload)
    draft = ExternalEvent(event_type, told, source_name=source, steer=steer, **how.header)
    publish(runtime_id, draft, how)


@app.command()
@manner_flags
def continuation(
    runtime_id: RuntimeIdArgument,
    reason: Annotated[str, typer.Argument(show_default=False)],
    *,
    steer: Steer = False,
    how: Manner,
) -> None:
    """Ask a runtime to go on.

    Example:  meerkat-worker publish continuation agent-7 "the tool has answered"
    """
    publish(runtime_id, Continuation(reason, steer=steer, **how.header), how)


class Stage(enum.StrEnum):
    """What happened to a background operation."""

    STARTED = "started"
    PROGRESS = "progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@app.command()
@manner_flags
def operation(
    runtime_id: RuntimeIdArgument,
    operation_id: Annotated[str, typer.Argument(metavar="OPERATION", show_default=False)],
    stage: Annotated[Stage, typer.Argument(show_default=False)],
    *,
    detail: Annotated[
        str, typer.Option("--detail", help="Its kind, message, result or error.")
    ] = "",
    how: Manner,
) -> None:
    """Publish a notice about a background operation; it is recorded and never run.

    Example:  meerkat-worker publish operation agent-7 op-3 failed --detail "no disk space"
    """
    draft = Operation(operation_id, _operation_event(operation_id, stage, detail), **how.header)
    publish(runtime_id, draft, how)


@app.command()
@settings_flags(*BROKER, "max_message_bytes")
def lines(
    file: JsonLines = None,
    *,
    runtime: Annotated[
        str | None, typer.Option("--runtime", help="For lines that name no runtime.")
    ] = None,
    as_json: Json = False,
    settings: Settings,
) -> None:
    """Publish many inputs, one JSON object a line: {"runtime_id": ..., "input": {...}}.

    An input is written as on the wire (docs/wire.md); header.id and header.source may be left out.
    A line that cannot be published is named on stderr with its number; the others are published,
    in order, and the exit code is 1.

    Example:  meerkat-worker publish lines inputs.jsonl --runtime agent-7
    """
    json_lines.publish(settings, source_of(file), runtime=runtime, as_json=as_json)


def _images(files: Sequence[Path]) -> tuple[Image, ...]:
    return tuple(_image(file) for file in files)


def _image(file: Path) -> Image:
    media_type = mimetypes.guess_type(file.name)[0]
    if media_type is None or not media_type.startswith("image/"):
        raise Failure(ExitCode.UNUSABLE, f"--image: {file}: expected a name such as photo.png")
    return Image(media_type, "inline", data=base64.b64encode(file.read_bytes()).decode())


def _json(option: str, text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise Failure(ExitCode.UNUSABLE, f"{option}: expected JSON: {error}") from error


def _operation_event(operation_id: str, stage: Stage, detail: str) -> OperationEvent:
    match stage:
        case Stage.STARTED:
            return OperationStarted(operation_id, detail)
        case Stage.PROGRESS:
            return OperationProgress(operation_id, detail)
        case Stage.COMPLETED:
            return OperationCompleted(operation_id, _json("--detail", detail or "null"))
        case Stage.FAILED:
            return OperationFailed(operation_id, detail)
        case Stage.CANCELLED:
            return OperationCancelled(operation_id)
        case _:
            assert_never(stage)
