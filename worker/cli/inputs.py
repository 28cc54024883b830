"""``inputs``: what was sent to a runtime, and what became of it."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any
from uuid import UUID

import msgspec
import typer

from schemas.ids import InputId, RuntimeId
from schemas.lifecycle import InputState
from schemas.outcomes import Abandoned, Coalesced, Consumed, Superseded, TerminalOutcome
from schemas.records import InputRecord
from store.queries import ACTIVE, StoredInput
from worker.body import pretty
from worker.cli.faults import Failure
from worker.cli.options import (
    DEFAULT_LIMIT,
    STORE,
    Json,
    Limit,
    RuntimeIdArgument,
    runtime_id_of,
    settings_flags,
)
from worker.cli.output import facts, json_line, json_lines, table, text
from worker.cli.reading import Listing, listed, opened
from worker.cli.root import noun
from worker.exits import ExitCode
from worker.settings import Settings

app = noun("inputs")

_COLUMNS = ("#", "input", "kind", "lane", "state", "outcome", "attempts", "last run", "updated")
_HISTORY = ("at", "from", "to", "reason")


@app.command("list")
@settings_flags(*STORE)
def list_(  # noqa: PLR0913  # each is a flag
    runtime_id: RuntimeIdArgument,
    *,
    state: Annotated[
        list[InputState] | None, typer.Option("--state", help="In this state; repeatable.")
    ] = None,
    active: Annotated[
        bool, typer.Option("--active", help="Only those that have not ended.")
    ] = False,
    newest: Annotated[bool, typer.Option("--newest", help="The latest ones first.")] = False,
    limit: Limit = DEFAULT_LIMIT,
    as_json: Json = False,
    settings: Settings,
) -> None:
    """List the inputs of a runtime in the order in which it admitted them.

    Example:  meerkat-worker inputs list agent-7 --active
    """
    states = frozenset(state or ()) | (ACTIVE if active else frozenset())
    found = asyncio.run(
        _list(settings, runtime_id_of(runtime_id), states or None, limit, newest=newest)
    )
    if as_json:
        json_lines(found.items)
    else:
        table(f"inputs of {runtime_id}", _COLUMNS, (_row(each) for each in found.items))
    found.warn()


@app.command()
@settings_flags(*STORE)
def show(
    runtime_id: RuntimeIdArgument,
    input_id: Annotated[UUID, typer.Argument(metavar="INPUT", show_default=False)],
    *,
    payload: Annotated[bool, typer.Option("--payload", help="Show what it says, too.")] = False,
    as_json: Json = False,
    settings: Settings,
) -> None:
    """Show one input: its policy, its history, and its payload if asked for.

    Example:  meerkat-worker inputs show agent-7 01890a5d-ac96-774b-bcce-b302099a8057 --payload
    """
    found = asyncio.run(_show(settings, runtime_id_of(runtime_id), input_id))
    if as_json:
        json_line(_as_json(found, payload=payload))
        return
    _print(found.record)
    if payload and found.payload is not None:
        text(pretty(found.payload))
    elif found.payload is not None:
        text(f"payload: {len(found.payload)} bytes; --payload shows it")


async def _list(
    settings: Settings,
    runtime_id: RuntimeId,
    states: frozenset[InputState] | None,
    limit: int,
    *,
    newest: bool,
) -> Listing[InputRecord]:
    async with opened(settings) as store:
        if await store.queries.runtime(runtime_id) is None:
            raise Failure(ExitCode.NOT_FOUND, f"no runtime {runtime_id} in the store")
        return await listed(
            lambda most, after: store.queries.inputs(
                runtime_id, states=states, limit=most, after=after, newest_first=newest
            ),
            limit,
        )


async def _show(settings: Settings, runtime_id: RuntimeId, input_id: InputId) -> StoredInput:
    async with opened(settings) as store:
        found = await store.queries.input(runtime_id, input_id)
        if found is None:
            what = f"no input {input_id} in runtime {runtime_id}"
            raise Failure(ExitCode.NOT_FOUND, f"{what}: never admitted, or past dedupe_window")
        return found


def _as_json(found: StoredInput, *, payload: bool) -> dict[str, Any]:
    size = None if found.payload is None else len(found.payload)
    shown: dict[str, Any] = {"input": found.record, "payload_bytes": size}
    if payload and found.payload is not None:
        shown["payload"] = msgspec.Raw(found.payload)
    return shown


def _print(record: InputRecord) -> None:
    facts(
        f"input {record.input_id}",
        {
            "sequence": record.sequence,
            "kind": record.kind,
            "durability": record.durability,
            "state": record.state,
            "lane": record.lane,
            "outcome": _outcome(record.outcome),
            "attempts": record.attempt_count,
            "recoveries": record.recovery_count or None,
            "last run": record.last_run_id,
            "last boundary": record.last_boundary_sequence,
            "idempotency key": record.idempotency_key,
            "supersession key": record.supersession_key,
            "reply to": record.reply and record.reply.queue,
            "policy": record.policy and _policy(record),
            "digest": record.payload_digest,
            "created": record.created_at,
            "updated": record.updated_at,
        },
    )
    rows = ((each.at, each.from_, each.to, each.reason) for each in record.history)
    table("history", _HISTORY, rows)


def _policy(record: InputRecord) -> str:
    decided = msgspec.to_builtins(record.policy)
    return ", ".join(f"{name}={value}" for name, value in decided.items())


def _row(each: InputRecord) -> tuple[object, ...]:
    return (
        each.sequence,
        each.input_id,
        each.kind,
        each.lane,
        each.state,
        _outcome(each.outcome),
        each.attempt_count,
        each.last_run_id,
        each.updated_at,
    )


def _outcome(outcome: TerminalOutcome | None) -> str | None:
    match outcome:
        case Superseded(by=by):
            return f"by {by}"
        case Coalesced(into=into):
            return f"into {into}"
        case Abandoned(reason=reason):
            return reason.value
        case Consumed() | None:
            return None
