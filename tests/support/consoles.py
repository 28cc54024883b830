"""The console without a process: its parts on a store of the test's, with no broker in reach."""

from __future__ import annotations

import httpx

from store.sql import SqlStore
from tests.support.place import SECRET
from worker.broker.link import Link
from worker.console.app import application
from worker.console.console import Console
from worker.console.guard import LOOPBACK_NAMES
from worker.console.service import Place, console
from worker.console.session import Keys
from worker.settings import Settings

TOKEN = "a token of sixteen letters"
ADDRESS = "http://127.0.0.1:8081"


def console_on(store: SqlStore) -> Console:
    """Put a console together."""
    settings = Settings(amqp_url=f"amqp://u:{SECRET}@127.0.0.1:1/")
    link = Link(settings.amqp_url, "test")
    return console(settings, store, link, Keys(TOKEN), Place("127.0.0.1", 8081, TOKEN, "ada"))


def visiting(
    parts: Console, names: frozenset[str] | None = LOOPBACK_NAMES, address: str = ADDRESS
) -> httpx.AsyncClient:
    """Make a client of a console, to be closed."""
    transport = httpx.ASGITransport(application(parts, names))
    return httpx.AsyncClient(transport=transport, base_url=address)
