"""Topology: the names of everything on the broker, and the arguments it is declared with.

All queue arguments live here. They are the same for RabbitMQ 3.10 to 4.x on purpose: a broker that
is upgraded would otherwise refuse, as a clash, to see its own queues declared again.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelPreconditionFailed

from schemas.ids import RuntimeId
from worker.broker.errors import BrokerUnsupportedError, TopologyClashError, translated

MINIMUM_VERSION: Final = (3, 10)
"""At-least-once dead-lettering, and with it our promise that nothing is lost, begins here."""

DEFAULT_NAMESPACE: Final = "meerkat"
DEFAULT_POOL: Final = "default"
DELIVERY_LIMIT: Final = 20
"""Returns of one message before the broker dead-letters it: ends a crash loop on a poison message.
A worker that is killed, or gives its queue back, costs each unacked message one."""

MAX_SHARDS: Final = 4096
RPC_SECONDS: Final = 15.0

Arguments = Mapping[str, str | int | bool]

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_EXPECTED: Final = "expected 1 to 64 letters, digits, '.', '_' or '-', a letter or digit first"
_SHARDED: Final = re.compile(r"sharded:([1-9][0-9]{0,3})")
_CURRENT: Final = re.compile(r"current is (?:the value )?'(\d+)'")


@dataclass(frozen=True, slots=True)
class Layout:
    """How inboxes are laid out on queues: one for each runtime, or ``shards`` for all of them."""

    shards: int | None = None

    @classmethod
    def parse(cls, text: str) -> Layout:
        """Read ``per-runtime`` or ``sharded:N``; anything else is a ``ValueError``."""
        if text == "per-runtime":
            return cls()
        found = _SHARDED.fullmatch(text)
        if found is None or int(found[1]) > MAX_SHARDS:
            raise ValueError(f"layout: expected per-runtime or sharded:N, N from 1 to {MAX_SHARDS}")
        return cls(int(found[1]))

    def __str__(self) -> str:
        return "per-runtime" if self.shards is None else f"sharded:{self.shards}"


PER_RUNTIME: Final = Layout()


@dataclass(frozen=True, slots=True)
class Topology:
    """The names in one namespace, and how to declare them."""

    namespace: str = DEFAULT_NAMESPACE
    layout: Layout = PER_RUNTIME

    def __post_init__(self) -> None:
        if _NAME.fullmatch(self.namespace) is None:
            raise ValueError(f"namespace: {_EXPECTED}")

    @property
    def inbox(self) -> str:
        """The direct exchange to publish inputs, run events and commands to; key: runtime id."""
        return f"{self.namespace}.inbox"

    @property
    def unrouted(self) -> str:
        """The exchange and the queue of messages for runtimes that nobody declared."""
        return f"{self.namespace}.unrouted"

    @property
    def registrations(self) -> str:
        """The queue of notices that a runtime exists; published to the default exchange."""
        return f"{self.namespace}.registrations"

    @property
    def runs(self) -> str:
        """The direct exchange of run requests; key: pool."""
        return f"{self.namespace}.runs"

    @property
    def signals(self) -> str:
        """The topic exchange of signals to executors; key: runtime id."""
        return f"{self.namespace}.signals"

    @property
    def events(self) -> str:
        """The topic exchange of runtime events; key: ``<event code>.<runtime id>``."""
        return f"{self.namespace}.events"

    @property
    def dead(self) -> str:
        """The exchange and the queue of what the broker dead-letters."""
        return f"{self.namespace}.dead"

    def presence(self, worker_id: str) -> str:
        """Name the exclusive queue that a connected worker holds."""
        return f"{self.namespace}.worker.{worker_id}"

    @property
    def shards(self) -> tuple[str, ...]:
        """The inbox queues of a sharded layout; none in the other."""
        return tuple(self._shard(number) for number in range(self.layout.shards or 0))

    def queue_of(self, runtime_id: RuntimeId) -> str:
        """Name the inbox queue of a runtime. Sharded: CRC-32 of the id modulo the shards."""
        if self.layout.shards is None:
            return f"{self.inbox}.{runtime_id}"
        return self._shard(zlib.crc32(runtime_id.encode()) % self.layout.shards)

    def pool_queue(self, pool: str) -> str:
        """Name the queue of a pool of executors; a pool of another shape is a ``ValueError``."""
        if _NAME.fullmatch(pool) is None:
            raise ValueError(f"pool: {_EXPECTED}")
        return f"{self.runs}.{pool}"

    def _shard(self, number: int) -> str:
        return f"{self.inbox}.shard.{number}"

    async def declare_shared(self, channel: AbstractChannel) -> None:
        """Declare all that belongs to no single runtime or pool, dead letters' part first.

        Raises:
            TopologyClashError: It is there with another layout or other arguments. The channel is
                closed then.
            BrokerUnavailableError: The connection was lost.
        """
        await self._declare_fanout(channel, self.dead, self._last_resort())
        await self._declare_fanout(channel, self.unrouted, self._ordered())
        await _exchange(channel, self.inbox, "direct", {"alternate-exchange": self.unrouted})
        await self._declare_layout(channel)
        await _queue(channel, self.registrations, self._competing())
        await _exchange(channel, self.runs, "direct")
        await _exchange(channel, self.signals, "topic")
        await _exchange(channel, self.events, "topic")
        for shard in self.shards:
            await _queue(channel, shard, self._ordered())

    async def declare_inbox(self, channel: AbstractChannel, runtime_id: RuntimeId) -> None:
        """Declare a runtime's inbox queue and route the runtime's messages to it.

        Raises as ``declare_shared``, which must have been called once in this namespace.
        """
        queue = self.queue_of(runtime_id)
        await _queue(channel, queue, self._ordered())
        await _bind(channel, queue, self.inbox, runtime_id)

    async def declare_pool(self, channel: AbstractChannel, pool: str = DEFAULT_POOL) -> None:
        """Declare the queue of a pool of executors. Raises as ``declare_inbox``."""
        queue = self.pool_queue(pool)
        await _queue(channel, queue, self._competing())
        await _bind(channel, queue, self.runs, pool)

    async def _declare_fanout(
        self, channel: AbstractChannel, name: str, arguments: Arguments
    ) -> None:
        await _exchange(channel, name, "fanout")
        await _queue(channel, name, arguments)
        await _bind(channel, name, name, "")

    async def _declare_layout(self, channel: AbstractChannel) -> None:
        """Pin the layout of the namespace to an empty queue whose maximum length says it.

        Two layouts side by side would put a runtime's messages in two queues and end their order.
        A broker compares the arguments of a queue and, of an exchange, hardly any.
        """
        name = f"{self.namespace}.layout"
        arguments: Arguments = {"x-max-length": self.layout.shards or 0}
        try:
            await _queue(channel, name, {"x-queue-type": "classic", **arguments})
        except TopologyClashError as error:
            found = _CURRENT.search(str(error))
            there = Layout(int(found[1]) or None) if found and found[1] else "another layout"
            raise TopologyClashError(
                f"namespace {self.namespace} is laid out {there} here, not {self.layout}: set the "
                f"same layout everywhere, or take another namespace (queue {name})"
            ) from error

    def _ordered(self) -> Arguments:
        """One consumer at a time: the next one begins with what the last one had not acked."""
        return {**self._competing(), "x-single-active-consumer": True}

    def _competing(self) -> Arguments:
        """Dead-letter at least once: our target always exists, and held is better than lost.

        ``x-overflow`` is what that strategy demands; without a maximum length it does nothing.
        """
        return {
            "x-queue-type": "quorum",
            "x-delivery-limit": DELIVERY_LIMIT,
            "x-dead-letter-exchange": self.dead,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }

    @staticmethod
    def _last_resort() -> Arguments:
        """Nothing stands behind this queue, so it must never drop.

        No limit means 20 from RabbitMQ 4.0 on, and -1 means none at all on 3.10: a limit that is
        never reached means the same everywhere.
        """
        return {"x-queue-type": "quorum", "x-delivery-limit": 1_000_000_000}


def require_version(version: tuple[int, ...]) -> None:
    """Refuse a broker that cannot keep our promises (``BrokerUnsupportedError``)."""
    if version < MINIMUM_VERSION:
        wanted, found = (".".join(map(str, parts)) for parts in (MINIMUM_VERSION, version))
        raise BrokerUnsupportedError(f"expected RabbitMQ {wanted} or later, found {found}")


async def _exchange(
    channel: AbstractChannel, name: str, kind: str, arguments: Arguments | None = None
) -> None:
    with translated(f"cannot declare exchange {name}"):
        await channel.exchange_declare(
            name,
            exchange_type=kind,
            durable=True,
            arguments=dict(arguments or {}),
            timeout=RPC_SECONDS,
        )


async def _queue(channel: AbstractChannel, name: str, arguments: Arguments) -> None:
    try:
        with translated(f"cannot declare queue {name}"):
            await channel.queue_declare(
                name, durable=True, arguments=dict(arguments), timeout=RPC_SECONDS
            )
    except TopologyClashError as error:
        if not isinstance(error.__cause__, ChannelPreconditionFailed):
            raise
        listed = ", ".join(f"{key}={value}" for key, value in arguments.items())
        raise TopologyClashError(f"{error} (ours: {listed})") from error.__cause__


async def _bind(channel: AbstractChannel, queue: str, exchange: str, key: str) -> None:
    with translated(f"cannot bind queue {queue} to exchange {exchange}"):
        await channel.queue_bind(queue, exchange, key, timeout=RPC_SECONDS)
