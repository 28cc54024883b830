"""The executor SDK: one async function that performs runs; everything around it is done here.

executor = Executor(pool="default")

@executor.run
async def agent(run: Run) -> str:
    ...

asyncio.run(executor.serve("amqp://..."))
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import os
import sys
from contextlib import AsyncExitStack
from typing import Final, TypeVar

from store.blobs import open_blobs
from store.ports import BlobStore
from worker.broker.link import Link
from worker.broker.publisher import Publisher
from worker.broker.topology import DEFAULT_NAMESPACE, DEFAULT_POOL, Layout, Topology
from worker.execution.errors import ExecutorError, Fatal, LeaseLostError, Retryable, SnapshotError
from worker.execution.performance import Function
from worker.execution.run import Run
from worker.execution.service import Service, Terms
from worker.execution.snapshot import Snapshots
from worker.shutdown import stop_on_signals

__all__ = [
    "Executor",
    "ExecutorError",
    "Fatal",
    "LeaseLostError",
    "Retryable",
    "Run",
    "SnapshotError",
    "load",
]

CONNECT_SECONDS: Final = 15.0

_F = TypeVar("_F", bound=Function)


class Executor:
    """Performs the runs of a pool with the function that ``run`` decorates.

    The function gets a ``Run`` and returns any JSON, which is the result that waiting requests are
    given. Returning applies what no boundary has applied yet; a function that never calls
    ``run.boundary`` applies all inputs at its end.

    It may raise ``Retryable`` (try again) or ``Fatal`` (do not); any other exception counts as
    ``Retryable``. The text of the exception is kept as the run's error.

    Args:
        pool: The pool whose runs it takes.
        concurrency: How many runs it performs at once.
        cancel_grace: Seconds the function has to react to ``run.cancelled`` before it is cancelled.
    """

    def __init__(
        self, pool: str = DEFAULT_POOL, *, concurrency: int = 16, cancel_grace: float = 5.0
    ) -> None:
        if concurrency < 1:
            raise ValueError(f"concurrency: expected 1 or more, got {concurrency}")
        self.pool = pool
        self.concurrency = concurrency
        self.cancel_grace = cancel_grace
        self._function: Function | None = None

    def run(self, function: _F) -> _F:
        """Make an async function the one that performs runs.

        Raises:
            TypeError: It is not async.
            ExecutorError: There is one already.
        """
        is_async: bool = inspect.iscoroutinefunction(function)
        if not is_async:
            raise TypeError("expected an async function: async def agent(run: Run)")
        if self._function is not None:
            raise ExecutorError("an executor has one function; make another Executor for another")
        self._function = function
        return function

    async def serve(
        self,
        url: str,
        *,
        namespace: str = DEFAULT_NAMESPACE,
        layout: str = "per-runtime",
        blobs: BlobStore | None = None,
        drain_seconds: float = 20.0,
        stop: asyncio.Event | None = None,
    ) -> None:
        """Perform runs until told to stop, reconnecting by itself.

        Args:
            url: ``amqp://user:password@host:port/vhost``.
            namespace: What the names on the broker start with.
            layout: ``per-runtime`` or ``sharded:N``; the same as the workers'.
            blobs: Where large snapshots live: the workers' blob store. Left out: what
                ``MEERKAT_BLOBS`` names, if it is set.
            drain_seconds: How long runs may go on after the stop; then they are handed back.
            stop: Ends it when set. Left out: SIGTERM and SIGINT do, the second one at once.

        Raises:
            BrokerError: The broker cannot be reached or used at the start.
            StoreError: The same of the blob store.
            ExecutorError: There is no function.
            ValueError: An argument does not have its shape.
        """
        if self._function is None:
            raise ExecutorError("no function to run: decorate one with @executor.run")
        topology = Topology(namespace, Layout.parse(layout))
        topology.pool_queue(self.pool)
        terms = Terms(self._function, self.pool, self.concurrency, self.cancel_grace, drain_seconds)
        async with AsyncExitStack() as stack:
            if stop is None:
                stop = asyncio.Event()
                stack.enter_context(stop_on_signals(stop))
            consuming = await stack.enter_async_context(Link(url, f"{namespace} executor"))
            publishing = await stack.enter_async_context(consuming.another())
            publisher = await stack.enter_async_context(Publisher(publishing))
            snapshots = Snapshots(await _blobs(stack, blobs))
            await _declare(consuming, topology)
            service = Service(
                terms, topology, consuming=consuming, publisher=publisher, snapshots=snapshots
            )
            await service.run(stop)


def load(name: str) -> Executor:
    """Find an executor by ``module:name``, such as ``worker.echo:executor``.

    Modules are looked for in the working directory too, as ``python -m`` does.

    Raises:
        ExecutorError: There is no such module or name, or it is no executor. Says which.
    """
    module_name, colon, attribute = name.partition(":")
    if not (module_name and colon and attribute):
        raise ExecutorError(f"expected module:name, such as worker.echo:executor, got {name!r}")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ExecutorError(f"cannot import {module_name}: {error}") from error
    found = getattr(module, attribute, None)
    if not isinstance(found, Executor):
        kind = "nothing" if found is None else f"a {type(found).__name__}"
        raise ExecutorError(f"expected an Executor at {name}, found {kind}")
    return found


async def _blobs(stack: AsyncExitStack, given: BlobStore | None) -> BlobStore | None:
    address = os.environ.get("MEERKAT_BLOBS")
    if given is not None or not address:
        return given
    blobs = open_blobs(address)
    stack.push_async_callback(blobs.close)
    await blobs.prepare()
    return blobs


async def _declare(link: Link, topology: Topology) -> None:
    """Declare what is shared, so that a clash of layouts is said at the start."""
    connection = await link.ready(deadline=CONNECT_SECONDS)
    channel = await connection.channel()
    await topology.declare_shared(channel)
    await channel.close()
