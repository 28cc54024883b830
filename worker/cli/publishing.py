"""Publishing: one input on its way, and what is said about it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar
from uuid import UUID

import typer

from schemas.ids import RuntimeId
from schemas.outcomes import (
    AbandonedOutcome,
    CompletionOutcome,
    ConflictOutcome,
    NotReadyOutcome,
    RejectedOutcome,
)
from worker.broker.connection import Connection
from worker.cli.options import (
    BROKER,
    Json,
    expanded,
    flag,
    runtime_id_of,
    setting_parameters,
    settings_of,
)
from worker.cli.output import as_json, json_line, text
from worker.cli.root import PROGRAM
from worker.client import Client, Draft
from worker.exits import ExitCode
from worker.settings import Settings

T = TypeVar("T")

_UNWANTED = (AbandonedOutcome, ConflictOutcome, NotReadyOutcome, RejectedOutcome)

_FLAGS = [
    flag("id", Annotated[UUID | None, typer.Option("--id", help="Its id; else a new one.")]),
    flag("key", Annotated[str | None, typer.Option("--key", help="Idempotency key.")]),
    flag("scope", Annotated[str | None, typer.Option("--scope", help="Supersession key.")]),
    flag(
        "correlation_id",
        Annotated[str | None, typer.Option("--correlation-id", help="Yours; it travels along.")],
    ),
    flag(
        "wait",
        Annotated[
            float | None,
            typer.Option("--wait", metavar="SECONDS", min=0.1, help="Wait for how it ends."),
        ],
    ),
    flag("as_json", Json, default=False),
]


@dataclass(frozen=True, slots=True)
class Manner:
    """How one input is published, whatever its kind; ``header`` is what its draft is made with."""

    settings: Settings
    header: dict[str, Any]
    wait: float | None
    as_json: bool

    @classmethod
    def of(cls, values: dict[str, Any]) -> Manner:
        """Gather it from the values of the flags."""
        given = {"id": values["id"], "key": values["key"], "supersession_key": values["scope"]}
        given["correlation_id"] = values["correlation_id"]
        header = {name: value for name, value in given.items() if value is not None}
        return cls(settings_of(values), header, values["wait"], values["as_json"])


def manner_flags(command: Callable[..., T]) -> Callable[..., T]:
    """Give a command, as ``how``, what every kind of input can be told."""
    return expanded("how", [*_FLAGS, *setting_parameters(*BROKER)], Manner.of)(command)


def publish(runtime_id: str, draft: Draft, how: Manner) -> None:
    """Publish a draft, wait for its end if asked to, and say what became of it."""
    outcome = asyncio.run(_published(runtime_id_of(runtime_id), draft, how))
    if how.as_json:
        told = {} if outcome is None else {"outcome": outcome}
        json_line({"runtime_id": runtime_id, "input_id": draft.id, **told})
    elif outcome is None:
        text(f"published {draft.id} to {runtime_id}")
    else:
        text(f"{draft.id} {as_json(outcome)}")
    if isinstance(outcome, _UNWANTED):
        raise typer.Exit(ExitCode.WRONG)


@asynccontextmanager
async def client_of(settings: Settings) -> AsyncIterator[Client]:
    """Open a client of the broker that the settings name.

    A client waits for a broker that is away; a person at a terminal is told at once.
    """
    await (await Connection.open(settings.amqp_url, PROGRAM)).close()
    async with Client(
        settings.amqp_url,
        namespace=settings.namespace,
        layout=settings.layout,
        max_message_bytes=settings.max_message_bytes,
    ) as client:
        yield client


async def _published(runtime_id: RuntimeId, draft: Draft, how: Manner) -> CompletionOutcome | None:
    async with client_of(how.settings) as client:
        if how.wait is None:
            await client.publish(runtime_id, draft)
            return None
        return await client.request(runtime_id, draft, timeout=how.wait)
