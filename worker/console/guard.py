"""The guard: stands before every page, and lets nobody do what they may not.

- On loopback only requests for a loopback name are answered: another name that leads here is
  DNS rebinding, a foreign page that wants to read.
- Other sites may link here and nothing else.
- Reading, payloads aside, is free on loopback alone; everything else needs a session, which begins
  with the token.
- Every change carries its session's form token.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worker.console.session import Keys, Session

MOST_FORM_BYTES: Final = 4 * 1024 * 1024
"""A body of 1 MiB that is edited, as a form writes it."""

SIGN_IN: Final = "/sign-in"
STATIC: Final = "/static/"
FORM_TOKEN: Final = "form_token"  # noqa: S105  # a field's name
LOOPBACK_NAMES: Final = frozenset({"127.0.0.1", "localhost", "::1"})

_READS: Final = frozenset({"GET", "HEAD"})
_FORWARDED: Final = ("forwarded", "x-forwarded-for", "x-forwarded-host", "via")

HEADERS: Final = {
    "cache-control": "no-store",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    # Not no-referrer: browsers would then hide from us where a form was sent from.
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


@dataclass(frozen=True, slots=True)
class Visit:
    """One request, as far as the guard knows it: whose it is, and the form that it carries."""

    session: Session | None
    form: Mapping[str, str] = field(default_factory=dict)

    @property
    def who(self) -> str | None:
        """The operator's name; None for somebody who has not shown the token."""
        return self.session.who if self.session else None


@dataclass(frozen=True, slots=True)
class Guard:
    """An ASGI application around another one.

    Attributes:
        app: What is guarded.
        keys: Opens cookies.
        names: The host names that are answered to, on loopback; None anywhere else, where every
            request needs the token.
        cookie: The cookie's name.
        clock: The time, in seconds of the epoch.
    """

    app: ASGIApp
    keys: Keys
    names: frozenset[str] | None
    cookie: str
    clock: Callable[[], float]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        request = Request(scope, receive)
        session = self.keys.opened(request.cookies.get(self.cookie), self.clock())
        answer = self._turned_away(request, session)
        visit = Visit(session)
        if answer is None and request.method not in _READS:
            found = await self._form(request, session)
            if isinstance(found, Response):
                answer = found
            else:
                visit = Visit(session, found)
        request.state.visit = visit
        await (answer or self.app)(scope, receive, _with_headers(send))

    def _turned_away(self, request: Request, session: Session | None) -> Response | None:
        if self.names is not None and _host(request) not in self.names:
            return _refused(
                421, "This console answers to its loopback names only, such as 127.0.0.1."
            )
        if _is_foreign(request):
            return _refused(403, "Another site may link to the console, and nothing else.")
        # The path as it is routed by: request.url is put together with what the Host header says.
        path: str = request.scope["path"]
        is_public = path == SIGN_IN or path.startswith(STATIC)
        if is_public or session is not None:
            return None
        if request.method not in _READS:
            return _refused(403, "Sign in first: changes need the token.")
        return None if self._is_local(request) else to_sign_in(request)

    def _is_local(self, request: Request) -> bool:
        """Tell whether nobody stands between: a proxy on this machine lets others in."""
        return self.names is not None and not any(name in request.headers for name in _FORWARDED)

    async def _form(self, request: Request, session: Session | None) -> dict[str, str] | Response:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            return _refused(415, "Expected a form.")
        body = await _body(request)
        if body is None:
            return _refused(413, f"Expected at most {MOST_FORM_BYTES} bytes.")
        form = dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))
        # Whoever can sign in has the token: nobody else gains by having it done for them.
        if request.scope["path"] == SIGN_IN:
            return form
        if session is None or not self.keys.is_form_token(session, form.get(FORM_TOKEN, "")):
            return _refused(403, "This form is not of your session, or too old: load it again.")
        return form


def to_sign_in(request: Request) -> Response:
    """Send a browser to the page for signing in, and back afterwards."""
    return RedirectResponse(f"{SIGN_IN}?{urlencode({'next': address_of(request)})}", 303)


def address_of(request: Request, *without: str, **more: str) -> str:
    """Write a request's own address, with some fields taken out and others put in.

    Only its path and query: what the Host header says is anybody's.
    """
    kept = [
        (name, text) for name, text in request.query_params.multi_items() if name not in without
    ]
    query = urlencode([*kept, *more.items()])
    path = quote(request.scope["path"], safe="/")
    return f"{path}?{query}" if query else path


def visit_of(request: Request) -> Visit:
    """Read what the guard has found."""
    visit: Visit = request.state.visit
    return visit


def _host(request: Request) -> str:
    host = request.headers.get("host", "").lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _is_foreign(request: Request) -> bool:
    """Tell whether another site asks. Browsers say so, where they say anything."""
    site = request.headers.get("sec-fetch-site", "same-origin")
    if site in ("same-origin", "none"):
        return False
    mode = request.headers.get("sec-fetch-mode")
    return not (request.method == "GET" and mode == "navigate")


async def _body(request: Request) -> bytes | None:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_FORM_BYTES:
            return None
    return bytes(body)


def _refused(code: int, sentence: str) -> Response:
    return PlainTextResponse(sentence + "\n", code)


def _with_headers(send: Send) -> Callable[[Message], Awaitable[None]]:
    async def sent(message: Any) -> None:  # noqa: ANN401  # ASGI's own type
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(HEADERS)
        await send(message)

    return sent
