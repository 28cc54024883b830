"""Pages for what is done to many letters: how many, shall it be done, and how far it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import assert_never
from uuid import UUID

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from store.dead_letters import LetterFilter
from store.letter_acts import Act
from worker.console.bulk import BulkAct, Tally, Verb
from worker.console.console import Console
from worker.console.guard import to_sign_in, visit_of
from worker.console.letter_changes import reason_given, signed
from worker.console.selection import Selection, number
from worker.dead_letters.discard import discard_all
from worker.dead_letters.words import COUNTED, counts


@dataclass(frozen=True, slots=True)
class BulkPages:
    """Does things to many letters, after asking."""

    console: Console

    def routes(self) -> list[Route]:
        """Where it is done, and watched."""
        asked = [(verb, f"/dead-letters/{verb}") for verb in Verb]
        return [
            *(Route(path, partial(self.ask, verb)) for verb, path in asked),
            *(Route(path, partial(self.begin, verb), methods=["POST"]) for verb, path in asked),
            Route("/acts/{act_id:uuid}", self.watch),
            Route("/acts/{act_id:uuid}/stop", self.stop, methods=["POST"]),
        ]

    async def ask(self, verb: Verb, request: Request) -> Response:
        """Say how many letters it would be, and ask."""
        if visit_of(request).who is None:
            return to_sign_in(request)
        selection = Selection.of({**request.query_params, "status": ""})
        wanted = selection.wanted(self.console.clock())
        return self.console.rendering.page(
            request,
            "confirm.html",
            verb=verb,
            selection=selection,
            count=await self.console.store.dead_letters.count(wanted),
        )

    async def begin(self, verb: Verb, request: Request) -> Response:
        """Begin it in the background."""
        console = self.console
        form = visit_of(request).form
        selection = Selection.of({**form, "status": ""})
        wanted = selection.wanted(console.clock())
        limit = number(form, "limit", least=1)
        count = await console.store.dead_letters.count(wanted)
        act = BulkAct(
            id=console.new_id(),
            verb=verb,
            total=count if limit is None else min(count, limit),
            who=signed(request),
            back=selection.at("/dead-letters/list"),
            began_at=console.clock(),
        )
        console.acts.begin(act, self._work(request, verb, wanted, limit))
        return RedirectResponse(f"/acts/{act.id}", 303)

    async def watch(self, request: Request) -> Response:
        """Show how far it is."""
        act = self._act(request.path_params["act_id"])
        return self.console.rendering.page(request, "act.html", live=True, act=act, words=COUNTED)

    async def stop(self, request: Request) -> Response:
        """End it where it is."""
        act = self._act(request.path_params["act_id"])
        self.console.acts.stop(act.id)
        return RedirectResponse(f"/acts/{act.id}", 303)

    def _act(self, act_id: UUID) -> BulkAct:
        act = self.console.acts.get(act_id)
        if act is None:
            raise HTTPException(
                404, "This console knows of no such act: it is long over, or another one did it."
            )
        return act

    def _work(
        self, request: Request, verb: Verb, wanted: LetterFilter, limit: int | None
    ) -> AsyncIterator[Tally]:
        who, form = signed(request), visit_of(request).form
        match verb:
            case Verb.REDRIVE:
                self.console.broker.require()
                note = form.get("note", "").strip() or None
                rate = number(form, "rate", least=1)
                return self._redriven(wanted, who, note, limit, rate)
            case Verb.DISCARD:
                act = Act(who, self.console.clock(), reason_given(request))
                return self._discarded(wanted, act, limit)
            case _:
                assert_never(verb)

    async def _redriven(
        self, wanted: LetterFilter, who: str, note: str | None, limit: int | None, rate: int | None
    ) -> AsyncIterator[Tally]:
        async for progress in self.console.redriver.redrive_all(
            wanted, who=who, note=note, limit=limit, rate=rate
        ):
            yield counts(progress)

    async def _discarded(
        self, wanted: LetterFilter, act: Act, limit: int | None
    ) -> AsyncIterator[Tally]:
        async for done in discard_all(self.console.store, wanted, act, limit=limit):
            yield {"discarded": done}
