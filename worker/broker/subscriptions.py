"""Subscriptions: keeps the queues that are wanted consumed, whatever happens to the broker."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Mapping
from types import TracebackType
from typing import Any, Final, Self

import structlog

from schemas.ids import RuntimeId
from worker.broker.consumer import Consumer
from worker.broker.delivery import Delivery
from worker.broker.errors import BrokerError
from worker.broker.inspect import queue_facts
from worker.broker.links import Links
from worker.broker.subscription import Subscription, Terms
from worker.broker.tally import Ended, Tally
from worker.broker.topology import Topology

OPENINGS: Final = 16
"""Queues being opened at once: more only wait in the broker instead of here."""

RELEASE_SECONDS: Final = 30.0
CHECK_SECONDS: Final = 5.0
CHECKS: Final = 50
"""Live consumers that the broker is asked about in that time, in turn: it tells of most losses."""

TURN_SECONDS: Final = 1.0
BREATH_SECONDS: Final = 0.02

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Subscriptions:
    """Compares the queues that are wanted with those that are consumed, all the time.

    Use: ``async with Subscriptions(...) as subscriptions: subscriptions.want({queue: runtime})``.
    Deliveries of all queues go to ``on_delivery``, in order within each queue; see ``Consumer``.
    ``on_lag`` is told, at each check of a queue, how many messages wait in it, and None as soon as
    it is consumed here no more.
    """

    def __init__(
        self,
        links: Links,
        topology: Topology,
        *,
        prefetch: int,
        on_delivery: Callable[[Delivery], None],
        on_lag: Callable[[str, int | None], None],
        check_seconds: float = CHECK_SECONDS,
    ) -> None:
        self.tally = Tally()
        self._terms = Terms(
            topology, prefetch, on_delivery, self.tally, others_live=lambda: bool(self.live)
        )
        self._on_lag = on_lag
        self._links = links
        self._wanted: dict[str, RuntimeId | None] = {}
        self._all: dict[str, Subscription] = {}
        self._paused = False
        self._changed = asyncio.Event()
        self._openings = asyncio.Semaphore(OPENINGS)
        self._tasks: set[asyncio.Task[None]] = set()
        self._check_seconds = check_seconds
        self._checked: Subscription | None = None

    async def __aenter__(self) -> Self:
        self._begin(self._reconcile_always())
        self._begin(self._check_always())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._paused = True
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await asyncio.gather(*(consumer.release(deadline=0) for consumer in self._consumers()))
        await self._links.__aexit__(kind, error, trace)

    @property
    def live(self) -> frozenset[str]:
        """The queues whose messages are being taken."""
        return frozenset(queue for queue, one in self._all.items() if one.is_live)

    @property
    def oldest_open(self) -> float | None:
        """When the oldest delivery in hand came, in seconds of the event loop's clock."""
        times = (consumer.oldest_open for consumer in self._consumers())
        return min((time for time in times if time is not None), default=None)

    @property
    def open_deliveries(self) -> int:
        """How many deliveries are in hand, not settled."""
        return sum(consumer.open_deliveries for consumer in self._consumers())

    def want(self, queues: Mapping[str, RuntimeId | None]) -> None:
        """Say which queues are to be consumed from now on; all others are released.

        A queue that is missing is declared: the inbox of the runtime beside it, or, for None, all
        that is shared. So leave out the queue of a runtime that was destroyed.
        """
        self._wanted = dict(queues)
        self._changed.set()

    def pause(self) -> None:
        """Release all queues, soon, and take none until ``resume``.

        For when nothing can be committed. Giving messages back one by one instead would use up
        their delivery limit.
        """
        self._paused = True
        self._changed.set()

    def resume(self) -> None:
        """Consume again what is wanted."""
        self._paused = False
        self._changed.set()

    async def release_all(self, *, deadline: float = RELEASE_SECONDS) -> None:
        """Pause, and wait until all in hand is settled and the queues are let go."""
        self.pause()
        await asyncio.gather(
            *(consumer.release(deadline=deadline) for consumer in self._consumers())
        )

    def _consumers(self) -> list[Consumer]:
        return [one.consumer for one in self._all.values() if one.consumer is not None]

    async def _reconcile_always(self) -> None:
        while True:
            try:
                await self._reconcile()
            except Exception:  # the top of this actor: without it nothing is ever consumed again
                log.exception("broker.reconcile_failed")
            # Many consumers end at once when a connection dies: look once, not once for each.
            await asyncio.sleep(BREATH_SECONDS)
            await self._until_changed(TURN_SECONDS)

    async def _until_changed(self, seconds: float) -> None:
        now = asyncio.get_running_loop().time()
        due = min((one.due for one in self._all.values() if one.due > now), default=now + seconds)
        try:
            async with asyncio.timeout(min(seconds, due - now)):
                await self._changed.wait()
        except TimeoutError:
            return
        self._changed.clear()

    async def _reconcile(self) -> None:
        for queue in self._wanted.keys() - self._all.keys():
            link = await self._links.take()
            self._all[queue] = Subscription(queue, self._wanted[queue], self._terms, link)
        now = asyncio.get_running_loop().time()
        for one in tuple(self._all.values()):
            if one.busy is None:
                self._decide(one, now)

    def _decide(self, one: Subscription, now: float) -> None:
        """Do the next thing about a subscription that nothing is being done about."""
        wanted = one.queue in self._wanted
        if one.consumer is not None:
            if self._paused or not wanted:
                one.busy = self._begin(self._release(one, one.consumer))
        elif not wanted:
            del self._all[one.queue]
            self._links.give_up(one.link)
        elif not self._paused and one.due <= now:
            one.busy = self._begin(self._open(one))

    async def _open(self, one: Subscription) -> None:
        try:
            await one.link.ready()
            async with self._openings:
                if self._paused or one.queue not in self._wanted:
                    return  # It took a while to come to this.
                consumer = await one.open()
            consumer.ended.add_done_callback(lambda ended: self._on_ended(one, ended.result()))
        except BrokerError as error:
            log.warning("broker.cannot_consume", queue=one.queue, reason=str(error))
            one.postpone()
        except Exception:  # the top of this actor: the next try must come whatever happened
            log.exception("broker.open_failed", queue=one.queue)
            one.postpone()
        finally:
            self._done(one)

    async def _release(self, one: Subscription, consumer: Consumer) -> None:
        try:
            await consumer.release(deadline=RELEASE_SECONDS)
        finally:
            self._done(one)

    def _done(self, one: Subscription) -> None:
        one.busy = None
        self._changed.set()

    def _on_ended(self, one: Subscription, why: Ended) -> None:
        one.consumer = None
        self._on_lag(one.queue, None)
        if why is not Ended.RELEASED:
            one.postpone()
        self._changed.set()

    async def _check_always(self) -> None:
        """Check evenly over the time: all at once would hold up what is being delivered."""
        while True:
            checks = self._next_to_check()
            for one in checks:
                await asyncio.sleep(self._check_seconds / len(checks))
                try:
                    await self._check(one)
                except Exception:  # the top of this actor
                    log.exception("broker.check_failed")
            if not checks:
                await asyncio.sleep(self._check_seconds)

    def _next_to_check(self) -> list[Subscription]:
        """The next few live ones, going round."""
        live = [one for one in self._all.values() if one.is_live]
        if self._checked in live:
            start = live.index(self._checked) + 1
            live = [*live[start:], *live[:start]]
        return list(itertools.islice(live, CHECKS))

    async def _check(self, one: Subscription) -> None:
        """Ask the broker whether a queue has a consumer; if not, ours is one in name only."""
        self._checked = one
        consumer = one.consumer
        connection = one.link.connection
        if consumer is None or connection is None:
            return
        try:
            facts = await queue_facts(connection, one.queue)
        except BrokerError:
            return  # The consumer learns of it by itself.
        if not consumer.is_live:
            return  # It ended while we asked: what we know is not ours to tell any more.
        if facts is None or facts.consumers == 0:
            log.error("broker.consumer_gone", queue=one.queue)
            await consumer.release(deadline=0)
        else:
            self._on_lag(one.queue, facts.ready)

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
