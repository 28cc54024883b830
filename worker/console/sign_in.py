"""Signing in: whoever shows the token gets a session, by the link that was printed or by a form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from worker.console.console import Console
from worker.console.guard import SIGN_IN, visit_of
from worker.console.session import LIFETIME_SECONDS, begun

MOST_NAME: Final = 64


@dataclass(frozen=True, slots=True)
class SignIn:
    """Begins and ends sessions."""

    console: Console

    def routes(self) -> list[Route]:
        """Where it is done."""
        return [
            Route(SIGN_IN, self.ask),
            Route(SIGN_IN, self.answer, methods=["POST"]),
            Route("/sign-out", self.leave, methods=["POST"]),
        ]

    async def ask(self, request: Request) -> Response:
        """Show the form, or take the token that the link carries."""
        token = request.query_params.get("token")
        to = request.query_params.get("next", "/")
        if token is None:
            return self._form(request, to)
        return self._let_in(request, token, self.console.operator, to)

    async def answer(self, request: Request) -> Response:
        """Take what was typed into the form."""
        form = visit_of(request).form
        who = form.get("who", "").strip()[:MOST_NAME] or self.console.operator
        return self._let_in(request, form.get("token", "").strip(), who, form.get("next", "/"))

    async def leave(self, _request: Request) -> Response:
        """End the session."""
        answer = RedirectResponse("/", 303)
        answer.delete_cookie(self.console.cookie)
        return answer

    def _let_in(self, request: Request, token: str, who: str, to: str) -> Response:
        console = self.console
        if not console.keys.is_token(token):
            return self._form(request, to, fault="That is not the token of this console.")
        answer = RedirectResponse(_local(to), 303)
        answer.set_cookie(
            console.cookie,
            console.keys.sealed(begun(console.clock().timestamp(), who)),
            max_age=LIFETIME_SECONDS,
            httponly=True,
            samesite="lax",
            secure=request.scope["scheme"] == "https",
        )
        return answer

    def _form(self, request: Request, to: str, fault: str | None = None) -> Response:
        return self.console.rendering.page(
            request,
            "sign_in.html",
            status=403 if fault else 200,
            fault=fault,
            to=_local(to),
            operator=self.console.operator,
            most=MOST_NAME,
        )


def _local(address: str) -> str:
    """Keep to this console: a link must not lead whoever signs in to somewhere else."""
    is_local = address.startswith("/") and not address.startswith(("//", "/\\"))
    return address if is_local else "/"
