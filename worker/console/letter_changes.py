"""Changes of one dead letter: redrive, discard, reopen, edit."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from schemas.dead_letters import DeadLetterStatus
from schemas.ids import DeadLetterId
from store.dead_letters import Letter
from store.letter_acts import Act, Answer, Edit
from worker.body import editable
from worker.console.console import Console
from worker.console.guard import to_sign_in, visit_of
from worker.console.letter_pages import found
from worker.console.results import RESULTS, result_of
from worker.console.selection import FieldError
from worker.dead_letters.dry_run import DryRun
from worker.dead_letters.edit import EditError, edited
from worker.dead_letters.words import VERDICTS

_ONE: Final = "/dead-letters/{letter_id:uuid}"


@dataclass(frozen=True, slots=True)
class LetterChanges:
    """Changes letters, one at a time; the guard has seen to it that somebody is signed in."""

    console: Console

    def routes(self) -> list[Route]:
        """Where it is done."""
        return [
            Route(f"{_ONE}/redrive", self.redrive, methods=["POST"]),
            Route(f"{_ONE}/discard", self.discard, methods=["POST"]),
            Route(f"{_ONE}/reopen", self.reopen, methods=["POST"]),
            Route(f"{_ONE}/edit", self.show_edit),
            Route(f"{_ONE}/edit", self.edit, methods=["POST"]),
        ]

    async def redrive(self, request: Request) -> Response:
        """Publish a letter again."""
        console = self.console
        console.broker.require()
        letter_id = request.path_params["letter_id"]
        note = visit_of(request).form.get("note", "").strip() or None
        progress = await console.redriver.redrive([letter_id], who=signed(request), note=note)
        return _back(letter_id, result_of(progress))

    async def discard(self, request: Request) -> Response:
        """Give a letter up."""
        letter_id = request.path_params["letter_id"]
        act = Act(signed(request), self.console.clock(), reason_given(request))
        done = await self.console.store.letter_acts.discard([letter_id], act)
        return _back(letter_id, "discarded" if done else Answer.NOT_OPEN)

    async def reopen(self, request: Request) -> Response:
        """Open a letter again."""
        letter_id = request.path_params["letter_id"]
        act = Act(signed(request), self.console.clock(), reason_given(request))
        done = await self.console.store.letter_acts.reopen([letter_id], act)
        return _back(letter_id, "reopened" if done else "missing_or_open")

    async def show_edit(self, request: Request) -> Response:
        """Show the body, secrets as they are, to be changed."""
        if visit_of(request).who is None:
            return to_sign_in(request)
        letter, body = await found(self.console, request)
        return self._form(request, letter, body, text=editable(body))

    async def edit(self, request: Request) -> Response:
        """Try the changed body, or publish the letter with it."""
        letter, body = await found(self.console, request)
        form = visit_of(request).form
        if letter.status is not DeadLetterStatus.OPEN:
            return _back(letter.id, Answer.NOT_OPEN)
        if form.get("digest") != sha256(body).hexdigest():
            return _back(letter.id, Answer.CHANGED)
        text = form.get("body", "").replace("\r\n", "\n")
        after = body if text == editable(body) else text.encode()
        try:
            change = self._change(letter, body, after)
        except EditError as error:
            return self._form(request, letter, body, text=text, fault=f"Not taken: {error}.")
        if form.get("step") != "redrive":
            trial = await self._tried(letter, after)
            return self._form(request, letter, body, text=text, change=change, trial=trial)
        return await self._redriven(request, letter.id, change)

    def _change(self, letter: Letter, before: bytes, after: bytes) -> Edit:
        most = self.console.max_message_bytes
        return edited(letter, before, after, now=self.console.clock(), max_message_bytes=most)

    async def _tried(self, letter: Letter, body: bytes) -> DryRun:
        console = self.console
        return await console.rehearsal.letter(
            letter, body, now=console.clock(), run_id=console.new_id()
        )

    async def _redriven(self, request: Request, letter_id: DeadLetterId, change: Edit) -> Response:
        console = self.console
        console.broker.require()
        progress = await console.redriver.redrive(
            [letter_id], who=signed(request), note=reason_given(request), edit=change
        )
        return _back(letter_id, result_of(progress))

    def _form(
        self,
        request: Request,
        letter: Letter,
        body: bytes,
        *,
        text: str | None,
        **come_to: Any,  # noqa: ANN401  # what the template wants
    ) -> Response:
        """Show the form, with what an edit has come to: a fault, or a change and its trial."""
        values: dict[str, Any] = {"fault": None, "change": None, "trial": None, **come_to}
        return self.console.rendering.page(
            request,
            "edit.html",
            status=422 if values["fault"] else 200,
            letter=letter,
            digest=sha256(body).hexdigest(),
            text=text,
            note=visit_of(request).form.get("note", ""),
            verdicts=VERDICTS,
            **values,
        )


def signed(request: Request) -> str:
    """Tell who does it; the guard lets nobody change anything who has not signed in."""
    who = visit_of(request).who
    if who is None:
        raise AssertionError("a change without a session")
    return who


def reason_given(request: Request) -> str:
    """Read why it is done.

    Raises:
        FieldError: No reason is given.
    """
    note = visit_of(request).form.get("note", "").strip()
    if not note:
        raise FieldError("note", "expected why; it is kept with the letter")
    return note


def _back(letter_id: DeadLetterId, result: str) -> Response:
    """Lead back to the letter; loading that page again does nothing twice."""
    if result not in RESULTS:
        raise AssertionError(f"no sentence for {result}")
    return RedirectResponse(f"/dead-letters/{letter_id}?result={result}", 303)
