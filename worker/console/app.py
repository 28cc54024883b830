"""The application: every page behind the guard, and what is said when something goes wrong."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from store.errors import DamagedRowError, StoreError
from store.paging import CursorError
from worker.broker.errors import BrokerError
from worker.console.bulk_pages import BulkPages
from worker.console.console import Console
from worker.console.guard import STATIC, Guard
from worker.console.letter_changes import LetterChanges
from worker.console.letter_pages import LetterPages
from worker.console.runtime_pages import RuntimePages
from worker.console.selection import FieldError
from worker.console.sign_in import SignIn
from worker.logger import Logger
from worker.masking import masked

ASSETS: Final = Path(__file__).parent / "static"

log = Logger(__name__)


def application(console: Console, names: frozenset[str] | None) -> ASGIApp:
    """Put all pages together.

    Args:
        console: The console's parts.
        names: The host names that are answered to; see ``Guard``.
    """
    parts = (RuntimePages, BulkPages, LetterPages, LetterChanges, SignIn)
    routes = [route for part in parts for route in part(console).routes()]
    pages = Starlette(
        routes=[*routes, Mount(STATIC.rstrip("/"), StaticFiles(directory=ASSETS))],
        exception_handlers=_Faults(console).handlers(),
    )
    return Guard(
        app=_Top(pages),
        keys=console.keys,
        names=names,
        cookie=console.cookie,
        clock=lambda: console.clock().timestamp(),
    )


@dataclass(frozen=True, slots=True)
class _Faults:
    """Says what went wrong, on a page."""

    console: Console

    def handlers(self) -> dict[type[Exception], Callable[..., Awaitable[Response]]]:
        kinds = (HTTPException, FieldError, StoreError, BrokerError, Exception)
        return dict.fromkeys(kinds, self.answer)

    async def answer(self, request: Request, error: Exception) -> Response:
        code, sentence = _told(error)
        return self.console.rendering.page(
            request, "fault.html", status=code, code=code, sentence=masked(sentence)
        )


def _told(error: Exception) -> tuple[int, str]:
    match error:
        case HTTPException():
            return error.status_code, error.detail
        case FieldError() | CursorError():
            return 400, str(error)
        case DamagedRowError():
            return 500, str(error)
        case StoreError():
            return 503, f"The database: {error}."
        case BrokerError():
            return 503, f"Nothing was done: {error}."
        case _:
            return 500, f"A fault of the console itself, {type(error).__name__}: see its log."


@dataclass(frozen=True, slots=True)
class _Top:
    """The top of every request: what nobody foresaw ends it, and not the console."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, send)
        except Exception:  # the page was answered already; without the query, where filters stand
            log.exception("console.page_failed", method=scope["method"], path=scope["path"])
