"""Link: keeps one connection to the broker up, for ever, by making a new one when it dies."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from worker.broker.backoff import Backoff
from worker.broker.connection import Connection, address_of
from worker.broker.errors import BrokerError, BrokerUnavailableError
from worker.logger import Logger

STEADY_SECONDS: Final = 5.0
"""A connection that lived this long was a good one: the next backoff begins anew."""

log = Logger(__name__)

Observer = Callable[[Connection | None], None]
"""Told the new connection when the link comes up, and None when it goes down."""


class Link:
    """A supervised connection: ``async with Link(url, name) as link: await link.ready()``.

    There is one path for the first connection and for every later one.

    Args:
        url: Where the broker is.
        name: What the broker shows the connection as.
        lost: Called each time that a connection which was up is lost, for the metrics; never over
            a try that failed, nor when the link is closed.
    """

    def __init__(self, url: str, name: str, *, lost: Callable[[], object] = lambda: None) -> None:
        self._url = url
        self._name = name
        self._lost = lost
        self._backoff = Backoff()
        self._observers: list[Observer] = []
        self._changed = asyncio.Event()
        self._closed = False
        self._task: asyncio.Task[None] | None = None
        self.address = address_of(url)
        self.connection: Connection | None = None
        self.last_error: BrokerError | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._keep_up(), name=f"link {self._name}")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        connection = self.connection
        self._tell(None)
        if connection is not None:
            await connection.close()

    def another(self) -> Link:
        """Make a second link to the same broker, not yet entered."""
        return Link(self._url, self._name, lost=self._lost)

    async def dial(self) -> Connection:
        """Open a connection of the caller's own to the same broker; nobody supervises it."""
        return await Connection.open(self._url, self._name)

    def observe(self, observer: Observer) -> Callable[[], None]:
        """Be told of every up and down; called at once if it is up. Returns how to stop that."""
        self._observers.append(observer)
        if self.connection is not None:
            observer(self.connection)
        return lambda: self._observers.remove(observer)

    async def ready(self, *, deadline: float | None = None) -> Connection:
        """Wait until it is up and return the connection.

        Raises:
            BrokerUnavailableError: Not within ``deadline`` seconds, or the link is closed. Says
                why the last try failed.
        """
        try:
            async with asyncio.timeout(deadline):
                return await self._connection_up()
        except TimeoutError as error:
            raise self._unavailable(deadline) from (self.last_error or error)

    async def _connection_up(self) -> Connection:
        while True:
            if self._closed:
                raise BrokerUnavailableError(f"the link to RabbitMQ at {self.address} is closed")
            if self.connection is not None and self.connection.is_open:
                return self.connection
            await self._changed.wait()

    def _unavailable(self, deadline: float | None) -> BrokerUnavailableError:
        reason = self.last_error or "no answer yet"
        return BrokerUnavailableError(f"no connection to the broker after {deadline} s: {reason}")

    async def _keep_up(self) -> None:
        while True:
            began = time.monotonic()
            try:
                await self._live_once()
            except BrokerError as error:
                if str(error) != str(self.last_error):  # else it has been said
                    log.warning("broker.unavailable", address=self.address, reason=str(error))
                self.last_error = error
            except Exception as error:  # the top of this actor: it must never end by itself
                self.last_error = BrokerUnavailableError(f"unexpected {type(error).__name__}")
                log.exception("broker.link_failed", address=self.address)
            if time.monotonic() - began > STEADY_SECONDS:
                self._backoff.reset()
            await asyncio.sleep(self._backoff.delay())

    async def _live_once(self) -> None:
        connection = await self.dial()
        version = ".".join(map(str, connection.version))
        log.info("broker.connected", address=self.address, version=version)
        self.last_error = None
        self._tell(connection)
        await connection.lost.wait()
        self._lost()
        log.warning("broker.connection_lost", address=self.address, reason=connection.end)
        self._tell(None)
        await connection.close()

    def _tell(self, connection: Connection | None) -> None:
        self.connection = connection
        self._changed.set()
        self._changed = asyncio.Event()
        for observer in tuple(self._observers):
            observer(connection)
