"""Signals: hears that a run which is held here is to cancel or to yield."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import structlog
from aiormq import Channel

from schemas.envelope import Signal, decode_signal
from schemas.errors import MalformedError
from schemas.ids import RuntimeId
from worker.broker.backoff import Backoff
from worker.broker.connection import Connection, close_channel
from worker.broker.consumer import Consumer
from worker.broker.delivery import Delivery
from worker.broker.errors import BrokerError, translated
from worker.broker.link import Link
from worker.broker.topology import Topology

_RPC_SECONDS: Final = 15.0
_PATIENCE_SECONDS: Final = 5.0
_PREFETCH: Final = 100

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Signals:
    """An exclusive queue on the signals exchange, bound to the runtimes that are held.

    It is made anew, with all its bindings, on every connection. A signal that is sent while the
    executor is away is lost: it is a request, and who made it can make it again.
    """

    def __init__(self, link: Link, topology: Topology, on_signal: Callable[[Signal], None]) -> None:
        self._link = link
        self._exchange = topology.signals
        self._on_signal = on_signal
        self._held: Counter[RuntimeId] = Counter()
        self._binding: Channel | None = None
        self._queue = ""
        self._listening = asyncio.Event()

    async def hold(self, runtime_id: RuntimeId) -> None:
        """Hear signals for a runtime; return when that is so, or when it takes too long."""
        self._held[runtime_id] += 1
        with suppress(BrokerError, TimeoutError):  # the next connection binds all that is held
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self._listening.wait()
            if self._binding is not None:
                await self._bind(self._binding, runtime_id)

    async def release(self, runtime_id: RuntimeId) -> None:
        """Hear no more for a runtime, unless another of its runs is held."""
        self._held[runtime_id] -= 1
        if self._held[runtime_id]:
            return
        del self._held[runtime_id]
        if self._binding is not None:
            with suppress(BrokerError), translated(f"cannot unbind from {self._exchange}"):
                await self._binding.queue_unbind(
                    self._queue, self._exchange, runtime_id, timeout=_RPC_SECONDS
                )

    async def listen(self) -> None:
        """Listen for ever."""
        backoff = Backoff()
        while True:
            connection = await self._link.ready()
            try:
                consumer = await self._open(connection)
                self._listening.set()
                backoff.reset()
                await asyncio.wait({consumer.ended})
            except BrokerError as error:
                log.warning("executor.signals_unheard", reason=str(error))
            finally:
                self._listening.clear()
                await self._let_go()
            await asyncio.sleep(backoff.delay())

    async def _open(self, connection: Connection) -> Consumer:
        channel = await connection.channel()
        with translated("cannot declare a queue for signals"):
            declared = await channel.queue_declare(
                exclusive=True, auto_delete=True, timeout=_RPC_SECONDS
            )
        self._queue = declared.queue or ""
        self._binding = channel
        for runtime_id in tuple(self._held):
            await self._bind(channel, runtime_id)
        return await Consumer.open(connection, self._queue, self._take, prefetch=_PREFETCH)

    async def _let_go(self) -> None:
        """Leave nothing on a connection that lives on; the queue goes with its last consumer."""
        binding, self._binding = self._binding, None
        if binding is not None:
            await close_channel(binding)

    async def _bind(self, channel: Channel, runtime_id: RuntimeId) -> None:
        with translated(f"cannot bind to {self._exchange}"):
            await channel.queue_bind(self._queue, self._exchange, runtime_id, timeout=_RPC_SECONDS)

    def _take(self, delivery: Delivery) -> None:
        delivery.ack()
        try:
            signal = decode_signal(delivery.envelope)
        except MalformedError as error:
            log.warning("executor.signal_malformed", reason=str(error))
            return
        self._on_signal(signal)
