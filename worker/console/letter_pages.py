"""Pages about dead letters: groups, lists, one letter, its bytes, and what a redrive would do."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from schemas.dead_letters import DeadLetterReason, DeadLetterStatus
from store.dead_letters import Letter
from worker.body import pretty
from worker.console.console import Console
from worker.console.excerpt import Excerpt
from worker.console.guard import address_of, to_sign_in, visit_of
from worker.console.results import RESULTS
from worker.console.selection import ANY, Selection
from worker.dead_letters.words import VERDICTS

GROUPS: Final = 100
ROWS: Final = 50
TRIALS: Final = 50
"""Letters that are tried dry at once."""


@dataclass(frozen=True, slots=True)
class LetterPages:
    """Shows dead letters. Changes nothing."""

    console: Console

    def routes(self) -> list[Route]:
        """Where they are."""
        one = "/dead-letters/{letter_id:uuid}"
        return [
            Route("/dead-letters", self.groups),
            Route("/dead-letters/list", self.letters),
            Route("/dead-letters/dry-run", self.dry_runs),
            Route(one, self.letter),
            Route(f"{one}/body", self.body),
            Route(f"{one}/dry-run", self.dry_run),
        ]

    async def groups(self, request: Request) -> Response:
        """Count letters that failed alike, the largest group first."""
        selection = Selection.of(request.query_params)
        wanted = selection.wanted(self.console.clock())
        groups = await self.console.store.dead_letters.groups(wanted, limit=GROUPS + 1)
        return self.console.rendering.page(
            request,
            "groups.html",
            live=True,
            groups=groups[:GROUPS],
            more=len(groups) > GROUPS,
            acts=self.console.acts.going,
            **_choices(selection),
        )

    async def letters(self, request: Request) -> Response:
        """List letters, the latest death first."""
        selection = Selection.of(request.query_params)
        wanted = selection.wanted(self.console.clock())
        letters = self.console.store.dead_letters
        after = request.query_params.get("after")
        page = await letters.letters(wanted, limit=ROWS, after=after)
        return self.console.rendering.page(
            request,
            "letters.html",
            live=True,
            page=page,
            count=await letters.count(wanted),
            next_page=page.next and address_of(request, "after", after=page.next),
            is_first=after is None,
            acts=self.console.acts.going,
            **_choices(selection),
        )

    async def letter(self, request: Request) -> Response:
        """Show one letter: why it died, what it says if asked for, and what can be done."""
        letter, body = await found(self.console, request)
        is_open = request.query_params.get("payload") == "shown"
        if is_open and visit_of(request).who is None:
            return to_sign_in(request)
        return self.console.rendering.page(
            request,
            "letter.html",
            live=not is_open,
            letter=letter,
            edits=await self.console.store.dead_letters.edits(letter.id),
            body=Excerpt.of(pretty(body)) if is_open else None,
            result=RESULTS.get(request.query_params.get("result", "")),
            show=address_of(request, "payload", "result", payload="shown"),
            hide=address_of(request, "payload", "result"),
        )

    async def body(self, request: Request) -> Response:
        """Hand out the original bytes, as a file: a browser must not make anything of them."""
        if visit_of(request).who is None:
            return to_sign_in(request)
        letter, body = await found(self.console, request)
        name = f'attachment; filename="{letter.id}.bin"'
        return Response(
            body, media_type="application/octet-stream", headers={"content-disposition": name}
        )

    async def dry_run(self, request: Request) -> Response:
        """Say what would become of one letter."""
        console = self.console
        letter, body = await found(console, request)
        trial = await console.rehearsal.letter(
            letter, body, now=console.clock(), run_id=console.new_id()
        )
        return console.rendering.page(
            request, "dry_run.html", letter=letter, trial=trial, verdicts=VERDICTS
        )

    async def dry_runs(self, request: Request) -> Response:
        """Say what would become of each of many letters, the oldest first."""
        console = self.console
        selection = Selection.of(request.query_params)
        now = console.clock()
        wanted = selection.wanted(now)
        trials = [
            each
            async for each in console.rehearsal.group(
                wanted, limit=TRIALS, now=now, run_id=console.new_id()
            )
        ]
        return console.rendering.page(
            request,
            "dry_runs.html",
            trials=trials,
            counts=Counter(each.verdict for each in trials),
            verdicts=VERDICTS,
            most=TRIALS,
            **_choices(selection),
        )


async def found(console: Console, request: Request) -> tuple[Letter, bytes]:
    """Read the letter that an address names, with its body.

    Raises:
        HTTPException: There is none.
    """
    letter_id = request.path_params["letter_id"]
    there = await console.store.dead_letters.get(letter_id)
    if there is None:
        raise HTTPException(404, f"There is no dead letter {letter_id}: deleted, or never there.")
    return there


def _choices(selection: Selection) -> dict[str, Any]:
    """What the filters of a page show, and what can be chosen in them."""
    return {
        "selection": selection,
        "statuses": [*DeadLetterStatus, ANY],
        "reasons": list(DeadLetterReason),
    }
