"""``command``: what a runtime is told to do, and what it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar
from uuid import UUID

import typer

from schemas.commands import Command, CommandReport
from schemas.ids import RuntimeId
from schemas.lifecycle import AbandonReason
from worker.cli.faults import Failure
from worker.cli.options import (
    BROKER,
    Json,
    RuntimeIdArgument,
    expanded,
    flag,
    runtime_id_of,
    setting_parameters,
    settings_of,
)
from worker.cli.output import json_line, text
from worker.cli.publishing import client_of
from worker.cli.root import noun
from worker.client import (
    AbandonPending,
    CancelInput,
    CancelRun,
    Destroy,
    Recover,
    Recycle,
    Reset,
    Resume,
    Retire,
    SetSilentIntents,
    Stop,
    Wake,
)
from worker.exits import ExitCode
from worker.settings import Settings

T = TypeVar("T")

app = noun("command")

_FLAGS = [
    flag(
        "timeout",
        Annotated[float, typer.Option("--timeout", metavar="SECONDS", help="How long to wait.")],
        default=30.0,
    ),
    flag("as_json", Json, default=False),
    flag(
        "yes",
        Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before giving up work.")],
        default=False,
    ),
]


@dataclass(frozen=True, slots=True)
class Manner:
    """How a command is given, whatever it says."""

    settings: Settings
    timeout: float
    as_json: bool
    yes: bool

    @classmethod
    def of(cls, values: dict[str, Any]) -> Manner:
        """Gather it from the values of the flags."""
        return cls(settings_of(values), values["timeout"], values["as_json"], values["yes"])

    def ask(self, question: str) -> None:
        """Ask before work is given up; a person who says no ends the command."""
        if not self.yes:
            typer.confirm(question, abort=True, err=True)


def manner_flags(command: Callable[..., T]) -> Callable[..., T]:
    """Give a command the flags that all of them share."""
    return expanded("how", [*_FLAGS, *setting_parameters(*BROKER)], Manner.of)(command)


@app.command()
@manner_flags
def stop(runtime_id: RuntimeIdArgument, *, how: Manner) -> None:
    """End a runtime; what it has not done is abandoned.

    Example:  meerkat-worker command stop agent-7
    """
    how.ask(f"Abandon all active inputs of {runtime_id} and end it?")
    _give(runtime_id, Stop(), how)


@app.command()
@manner_flags
def destroy(runtime_id: RuntimeIdArgument, *, how: Manner) -> None:
    """End a runtime for good; what it has not done is abandoned.

    Example:  meerkat-worker command destroy agent-7 --yes
    """
    how.ask(f"Abandon all active inputs of {runtime_id} and destroy it for good?")
    _give(runtime_id, Destroy(), how)


@app.command()
@manner_flags
def reset(runtime_id: RuntimeIdArgument, *, how: Manner) -> None:
    """Abandon what a runtime has not done, and begin again idle.

    Example:  meerkat-worker command reset agent-7
    """
    how.ask(f"Abandon all active inputs of {runtime_id}?")
    _give(runtime_id, Reset(), how)


@app.command()
@manner_flags
def wake(runtime_id: RuntimeIdArgument, *, how: Manner) -> None:
    """Have a runtime process what waits, as if an input had woken it.

    Example:  meerkat-worker command wake agent-7
    """
    _give(runtime_id, Wake(), how)


@app.command()
@manner_flags
def retire(runtime_id: RuntimeIdArgument, *, how: Manner) -> None:
    """Let a runtime take no new input and finish what it has.

    Example:  meerkat-worker command retire agent-7
    """
    _give(runtime_id, Retire(), how)


@app.command()
@manner_flags
def resume(runtime_id: RuntimeIdArgument, *, how: Manner) -> None:
    """Let a runtime leave recovery; nothing in any other state.

    Example:  meerkat-worker command resume agent-7
    """
    _give(runtime_id, Resume(), how)


@app.command()
@manner_flags
def recycle(runtime_id: RuntimeIdArgument, *, how: Manner) -> None:
    """Rebuild a runtime's driver from the store; its work is kept.

    Example:  meerkat-worker command recycle agent-7
    """
    _give(runtime_id, Recycle(), how)


@app.command()
@manner_flags
def recover(runtime_id: RuntimeIdArgument, *, how: Manner) -> None:
    """Run a runtime's recovery now.

    Example:  meerkat-worker command recover agent-7
    """
    _give(runtime_id, Recover(), how)


@app.command("cancel-run")
@manner_flags
def cancel_run(
    runtime_id: RuntimeIdArgument,
    run_id: Annotated[UUID | None, typer.Argument(metavar="RUN", show_default=False)] = None,
    *,
    how: Manner,
) -> None:
    """Ask the executor to cancel a runtime's current run, or just the run named.

    Example:  meerkat-worker command cancel-run agent-7
    """
    _give(runtime_id, CancelRun(run_id=run_id), how)


@app.command("cancel-input")
@manner_flags
def cancel_input(
    runtime_id: RuntimeIdArgument,
    input_id: Annotated[UUID, typer.Argument(metavar="INPUT", show_default=False)],
    *,
    how: Manner,
) -> None:
    """Abandon one input that is not in a run.

    Example:  meerkat-worker command cancel-input agent-7 01890a5d-ac96-774b-bcce-b302099a8057
    """
    _give(runtime_id, CancelInput(input_id=input_id), how)


@app.command("abandon-pending")
@manner_flags
def abandon_pending(
    runtime_id: RuntimeIdArgument,
    *,
    reason: Annotated[AbandonReason, typer.Option("--reason")] = AbandonReason.CANCELLED,
    how: Manner,
) -> None:
    """Abandon all active inputs of a runtime for a reason.

    Example:  meerkat-worker command abandon-pending agent-7 --reason cancelled
    """
    how.ask(f"Abandon all active inputs of {runtime_id}?")
    _give(runtime_id, AbandonPending(reason=reason), how)


@app.command("set-silent-intents")
@manner_flags
def set_silent_intents(
    runtime_id: RuntimeIdArgument,
    intents: Annotated[list[str] | None, typer.Argument(show_default=False)] = None,
    *,
    how: Manner,
) -> None:
    """Name the intents of peer requests that do not wake a runtime; none clears them.

    Example:  meerkat-worker command set-silent-intents agent-7 status_ping heartbeat
    """
    _give(runtime_id, SetSilentIntents(intents=tuple(intents or ())), how)


def _give(runtime_id: str, command: Command, how: Manner) -> None:
    report = asyncio.run(_answered(runtime_id_of(runtime_id), command, how))
    refused = report.outcome.get("kind") == "refused"
    if how.as_json:
        json_line(report)
    elif not refused:
        text(_words(report.outcome))
    if refused:
        raise Failure(ExitCode.WRONG, f"{runtime_id} refuses: {report.outcome.get('reason')}")


async def _answered(runtime_id: RuntimeId, command: Command, how: Manner) -> CommandReport:
    async with client_of(how.settings) as client:
        return await client.command(runtime_id, command, timeout=how.timeout)


def _words(outcome: dict[str, Any]) -> str:
    """Say what a command did: its counts, then what it has to tell."""
    counts = ", ".join(f"{name} {count}" for name, count in outcome.get("counts", {}).items())
    lines = [f"{outcome.get('command', 'done')}: {counts or 'nothing to do'}"]
    return "\n".join([*lines, *(f"  {detail}" for detail in outcome.get("details", ()))])
