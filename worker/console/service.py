"""The service: a console process, from its settings to its exit."""

from __future__ import annotations

import asyncio
import ipaddress
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from store.codec import Codec
from store.open import open_store
from store.overview import Overviews
from store.sql import SqlStore
from worker.broker.link import Link
from worker.broker.publisher import Publisher
from worker.broker.topology import Layout, Topology
from worker.clock import new_id, now
from worker.console.app import application
from worker.console.broker import Broker
from worker.console.bulk import BulkActs
from worker.console.console import Console
from worker.console.guard import LOOPBACK_NAMES, SIGN_IN
from worker.console.rendering import Rendering
from worker.console.session import Keys, TokenError, generated_token
from worker.dead_letters.dry_run import Rehearsal
from worker.dead_letters.redrive import Redriver
from worker.listening import answering, listen
from worker.settings import Settings
from worker.shutdown import stop_on_signals
from worker.terminal import inert
from worker.wiring import driver_options

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8081


@dataclass(frozen=True, slots=True)
class Place:
    """Where a console is served, and who may act there.

    Attributes:
        host: A name or an address.
        port: Its port; 0 for any free one.
        token: What must be shown; None to have one made, which is for loopback alone.
        operator: Who acts, if they do not say who they are.
    """

    host: str
    port: int
    token: str | None
    operator: str

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"

    @property
    def names(self) -> frozenset[str] | None:
        """The host names that it answers to; None for any."""
        return LOOPBACK_NAMES | {self.host.lower()} if self.is_loopback else None

    def secret(self) -> str:
        """Have the token that was given, or make one.

        Raises:
            TokenError: Others can reach it, and none was given.
        """
        if self.token is None and not self.is_loopback:
            raise TokenError(
                f"{self.host} can be reached by others: set MEERKAT_CONSOLE_TOKEN, "
                "or listen on 127.0.0.1"
            )
        return self.token or generated_token()


async def serve(settings: Settings, place: Place) -> None:
    """Serve the console until SIGTERM or SIGINT. A broker that is away does not stop it.

    Raises:
        TokenError: The token is missing where it must not be, or too short.
        StoreError: The database cannot be reached, or has not been migrated.
        PortError: The address is in use or not ours.
    """
    token = place.secret()
    keys = Keys(token)
    stop = asyncio.Event()
    async with AsyncExitStack() as stack:
        stack.enter_context(stop_on_signals(stop))
        store = await open_store(settings.database_url)
        stack.push_async_callback(store.close)
        remedy = "set MEERKAT_CONSOLE_PORT to a free port, or to 0 for any"
        listener = listen(place.host, place.port, part="console", remedy=remedy)
        stack.callback(listener.close)
        there = replace(place, port=listener.getsockname()[1])
        link = await stack.enter_async_context(Link(settings.amqp_url, "meerkat-worker console"))
        made = console(settings, store, link, keys, there)
        stack.push_async_callback(made.acts.close)
        app = application(made, there.names)
        await stack.enter_async_context(answering(app, listener, "console"))
        _greet(there, token)
        await stop.wait()


def console(settings: Settings, store: SqlStore, link: Link, keys: Keys, place: Place) -> Console:
    """Put a console together on open connections."""
    topology = Topology(settings.namespace, Layout.parse(settings.layout))
    flavour = store.database.flavour
    return Console(
        store=store,
        overviews=Overviews(store.database, Codec(flavour.uuid, flavour.moment)),
        broker=Broker(link, topology, settings.pool),
        redriver=Redriver(store, Publisher(link), topology, now, new_id),
        rehearsal=Rehearsal(store, topology, driver_options(settings), settings.max_message_bytes),
        acts=BulkActs(now),
        keys=keys,
        rendering=Rendering(keys, settings.namespace),
        clock=now,
        new_id=new_id,
        operator=place.operator,
        cookie=f"meerkat-console-{place.port}",
        worker_ttl=timedelta(seconds=settings.worker_ttl),
        max_message_bytes=settings.max_message_bytes,
    )


def _greet(place: Place, token: str) -> None:
    """Say where it is and how to sign in. A token that was given is not repeated."""
    host = f"[{place.host}]" if ":" in place.host else place.host
    address = f"http://{inert(host)}:{place.port}"
    to_change = (
        f"open {address}{SIGN_IN}?token={token}"
        if place.token is None
        else f"sign in with your token at {address}{SIGN_IN}"
    )
    print(  # noqa: T201  # it is what the command answers
        f"The console is at {address}/\nTo change things, {to_change}\nCtrl-C ends it.", flush=True
    )
