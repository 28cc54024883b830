"""``runtimes``: what they are, what they do, and the proof of what they did."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from schemas.ids import RuntimeId
from schemas.lifecycle import RuntimeState
from schemas.records import ReceiptRecord, RunRecord
from store.queries import RuntimeDetails, RuntimeFilter, RuntimeSummary
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
from worker.cli.output import facts, json_line, json_lines, table
from worker.cli.reading import Listing, listed, opened
from worker.cli.root import noun
from worker.exits import ExitCode
from worker.settings import Settings

app = noun("runtimes")

_COLUMNS = ("runtime", "state", "waiting", "in run", "current run", "epoch", "owner", "updated")


@app.command("list")
@settings_flags(*STORE)
def list_(
    *,
    state: Annotated[RuntimeState | None, typer.Option("--state", help="In this state.")] = None,
    owner: Annotated[str | None, typer.Option("--owner", help="Owned by this worker.")] = None,
    prefix: Annotated[str | None, typer.Option("--prefix", help="Ids that begin so.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    as_json: Json = False,
    settings: Settings,
) -> None:
    """List runtimes by their ids, with what waits in them and what runs.

    Example:  meerkat-worker runtimes list --state running
    """
    wanted = RuntimeFilter(state, owner, prefix)
    found = asyncio.run(_list(settings, wanted, limit))
    if as_json:
        json_lines(found.items)
    else:
        table("runtimes", _COLUMNS, (_row(each) for each in found.items))
    found.warn()


@app.command()
@settings_flags(*STORE)
def show(
    runtime_id: RuntimeIdArgument,
    *,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Runs and receipts to show.")] = 20,
    as_json: Json = False,
    settings: Settings,
) -> None:
    """Show one runtime: its state, its current run, its latest runs and their receipts.

    Its inputs are shown by inputs list; why it does not move, by explain.

    Example:  meerkat-worker runtimes show agent-7
    """
    found = asyncio.run(_show(settings, runtime_id_of(runtime_id), limit))
    if as_json:
        json_line(found.as_json())
    else:
        found.print()


@dataclass(frozen=True, slots=True)
class Whole:
    """A runtime, its latest runs, and their receipts."""

    details: RuntimeDetails
    runs: Listing[RunRecord]
    receipts: list[ReceiptRecord]

    def as_json(self) -> dict[str, Any]:
        """Everything, under stable names."""
        return {
            "runtime": self.details.runtime,
            "owner": self.details.owner,
            "active": self.details.active,
            "run": self.details.run,
            "timers": self.details.timers,
            "runs": self.runs.items,
            "receipts": self.receipts,
        }

    def print(self) -> None:
        """Show it to a person."""
        details = self.details
        active = ", ".join(f"{count} {state}" for state, count in details.active.items())
        facts(
            f"runtime {details.runtime.runtime_id}",
            {
                "state": details.runtime.state,
                "paused": details.runtime.paused or None,
                "owner": details.owner,
                "epoch": details.runtime.epoch,
                "active inputs": active or "none",
                "admitted so far": details.runtime.next_sequence,
                "current run": details.runtime.current_run_id,
                "lease until": details.run and details.run.lease_until,
                "retry not before": details.runtime.retry and details.runtime.retry.not_before,
                "silent intents": ", ".join(details.runtime.silent_intents) or None,
                "updated": details.runtime.updated_at,
            },
        )
        table("timers", ("kind", "due"), ((each.kind, each.due_at) for each in details.timers))
        table("runs", _RUN_COLUMNS, (_run_row(each) for each in self.runs.items))
        table("receipts", _RECEIPT_COLUMNS, (_receipt_row(each) for each in self.receipts))
        self.runs.warn()


_RUN_COLUMNS = ("run", "state", "inputs", "attempt", "requested", "started", "ended", "error")
_RECEIPT_COLUMNS = ("run", "sequence", "boundary", "inputs", "messages", "digest", "committed")


async def _list(settings: Settings, wanted: RuntimeFilter, limit: int) -> Listing[RuntimeSummary]:
    async with opened(settings) as store:
        return await listed(
            lambda most, after: store.queries.runtimes(wanted, limit=most, after=after), limit
        )


async def _show(settings: Settings, runtime_id: RuntimeId, limit: int) -> Whole:
    async with opened(settings) as store:
        details = await store.queries.runtime(runtime_id)
        if details is None:
            raise Failure(ExitCode.NOT_FOUND, f"no runtime {runtime_id} in the store")
        runs = await listed(
            lambda most, after: store.queries.runs(runtime_id, limit=most, after=after), limit
        )
        receipts: list[ReceiptRecord] = []
        for run in runs.items:
            page = await store.queries.receipts(runtime_id, run_id=run.run_id, limit=limit)
            receipts += page.items
        return Whole(details, runs, receipts)


def _row(each: RuntimeSummary) -> tuple[object, ...]:
    state = f"{each.state.value}, paused" if each.paused else each.state
    run = each.current_run_id
    counts = (each.waiting, each.in_run)
    return each.runtime_id, state, *counts, run, each.epoch, each.owner, each.updated_at


def _run_row(run: RunRecord) -> tuple[object, ...]:
    times = (run.requested_at, run.started_at, run.ended_at)
    return run.run_id, run.state, len(run.batch), run.attempt, *times, run.error


def _receipt_row(record: ReceiptRecord) -> tuple[object, ...]:
    receipt = record.receipt
    return (
        receipt.run_id,
        receipt.sequence,
        receipt.boundary,
        len(receipt.contributing_input_ids),
        receipt.message_count,
        (receipt.conversation_digest or "")[:12],
        record.committed_at,
    )
