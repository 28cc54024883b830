"""Pages about runtimes: all of them, one of them, one input."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from schemas.dead_letters import DeadLetterStatus
from schemas.ids import RuntimeId
from schemas.lifecycle import InputState, RuntimeState
from schemas.records import CorruptRecord, ReceiptRecord, RunRecord
from store.dead_letters import LetterFilter
from store.queries import ACTIVE, RuntimeFilter, RuntimeSummary
from worker.body import pretty
from worker.console.console import Console
from worker.console.excerpt import Excerpt
from worker.console.guard import address_of, to_sign_in, visit_of
from worker.console.selection import choice, runtime_of
from worker.explanation import explained

ROWS: Final = 50
RUNS: Final = 10
AFTER: Final = "after"
SHOW: Final = "show"


class Order(enum.StrEnum):
    """How runtimes are listed."""

    NAME = "name"
    WAIT = "wait"
    """Those with something to do only, the longest wait first."""


class Which(enum.StrEnum):
    """Which inputs of a runtime are listed."""

    ACTIVE = "active"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Line:
    """A runtime as the list shows it."""

    summary: RuntimeSummary
    waiting_since: datetime | None


@dataclass(frozen=True, slots=True)
class Lines:
    """A piece of the list of runtimes."""

    items: Sequence[Line]
    next: str | None = None
    damaged: Sequence[CorruptRecord] = ()


@dataclass(frozen=True, slots=True)
class RuntimePages:
    """Shows runtimes."""

    console: Console

    def routes(self) -> list[Route]:
        """Where they are."""
        return [
            Route("/", self.home),
            Route("/runtimes", self.runtimes),
            Route("/runtimes/{runtime_id}", self.runtime),
            Route("/runtimes/{runtime_id}/inputs/{input_id:uuid}", self.input),
        ]

    async def home(self, _request: Request) -> Response:
        """Lead to the first page."""
        return RedirectResponse("/runtimes", 303)

    async def runtimes(self, request: Request) -> Response:
        """List runtimes, with how much there is to do altogether."""
        given = request.query_params
        order = choice(given, "order", Order) or Order.NAME
        wanted = RuntimeFilter(
            choice(given, "state", RuntimeState),
            given.get("owner", "").strip() or None,
            given.get("prefix", "").strip() or None,
        )
        lines = await self._lines(wanted, order, given.get(AFTER))
        workers = await self.console.store.workers()
        return self.console.rendering.page(
            request,
            "runtimes.html",
            live=True,
            overview=await self.console.overviews.overview(),
            workers=[each for each in workers if self.console.is_alive(each)],
            lines=lines,
            wanted=wanted,
            order=order,
            states=list(RuntimeState),
            most=ROWS,
            next_page=lines.next and address_of(request, AFTER, after=lines.next),
            is_first=AFTER not in given,
        )

    async def runtime(self, request: Request) -> Response:
        """Show one runtime: why it stands where it stands, its inputs in order, its runs."""
        console = self.console
        runtime_id = runtime_of(request.path_params["runtime_id"])
        details = await console.store.queries.runtime(runtime_id)
        if details is None:
            raise HTTPException(404, f"There is no runtime {runtime_id} in the store.")
        given = request.query_params
        which = choice(given, SHOW, Which) or Which.ACTIVE
        inputs = await console.store.queries.inputs(
            runtime_id,
            states=ACTIVE if which is Which.ACTIVE else frozenset(InputState) - ACTIVE,
            limit=ROWS,
            after=given.get(AFTER),
            newest_first=which is Which.ENDED,
        )
        runs = await console.store.queries.runs(runtime_id, limit=RUNS, after=given.get("runs"))
        letters = LetterFilter(status=DeadLetterStatus.OPEN, runtime_id=runtime_id)
        return console.rendering.page(
            request,
            "runtime.html",
            live=True,
            runtime=details.runtime,
            details=details,
            sentences=await self._explained(runtime_id, None),
            waiting_since=(await console.overviews.waiting_since([runtime_id])).get(runtime_id),
            inputs=inputs,
            which=which,
            more_inputs=inputs.next and address_of(request, AFTER, after=inputs.next),
            runs=runs,
            more_runs=runs.next and address_of(request, "runs", runs=runs.next),
            receipts=await self._receipts(runtime_id, runs.items),
            letters=await console.store.dead_letters.count(letters),
        )

    async def input(self, request: Request) -> Response:
        """Show one input: what was decided, what became of it, and what it says if asked for."""
        console = self.console
        runtime_id = runtime_of(request.path_params["runtime_id"])
        input_id: UUID = request.path_params["input_id"]
        is_open = request.query_params.get("payload") == "shown"
        if is_open and visit_of(request).who is None:
            return to_sign_in(request)
        found = await console.store.queries.input(runtime_id, input_id)
        if found is None:
            raise HTTPException(
                404, f"Runtime {runtime_id} has no input {input_id}: never admitted, or long over."
            )
        payload = found.payload
        return console.rendering.page(
            request,
            "input.html",
            live=not is_open,
            runtime_id=runtime_id,
            record=found.record,
            sentences=await self._explained(runtime_id, input_id),
            payload_bytes=None if payload is None else len(payload),
            payload=Excerpt.of(pretty(payload)) if is_open and payload is not None else None,
            show=address_of(request, "payload", payload="shown"),
            hide=address_of(request, "payload"),
        )

    async def _lines(self, wanted: RuntimeFilter, order: Order, after: str | None) -> Lines:
        console = self.console
        if order is Order.WAIT:
            busy = await console.overviews.busiest(wanted, limit=ROWS)
            return Lines([Line(each.summary, each.waiting_since) for each in busy])
        page = await console.store.queries.runtimes(wanted, limit=ROWS, after=after)
        waits = [each.runtime_id for each in page.items if each.waiting]
        since = await console.overviews.waiting_since(waits)
        lines = [Line(each, since.get(each.runtime_id)) for each in page.items]
        return Lines(lines, page.next, page.damaged)

    async def _explained(self, runtime_id: RuntimeId, input_id: UUID | None) -> list[str]:
        console = self.console
        around, unseen = await console.broker.around(runtime_id)
        sentences = await explained(
            console.store, runtime_id, input_id, around=around, now=console.clock()
        )
        return [*(sentences or ()), *([unseen] if unseen else [])]

    async def _receipts(
        self, runtime_id: RuntimeId, runs: Sequence[RunRecord]
    ) -> list[ReceiptRecord]:
        """Read the receipts of the runs that are shown."""
        found: list[ReceiptRecord] = []
        for run in runs:
            page = await self.console.store.queries.receipts(
                runtime_id, run_id=run.run_id, limit=ROWS
            )
            found += page.items
        return found
