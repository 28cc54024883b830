"""Fixtures of the SDK tests."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from store.ports import BlobStore
from tests.support.counterpart import Counterpart
from worker.executor import Executor


@pytest.fixture
async def counterpart(amqp_url: str, namespace: str) -> AsyncIterator[Counterpart]:
    """The other side of the broker, listening to the inbox of the runtime `agent`."""
    async with Counterpart(amqp_url, namespace) as other:
        await other.listen("agent")
        yield other


class Serving:
    """Executors that serve until the test ends, or until they are told to stop."""

    def __init__(self, url: str, namespace: str, tasks: asyncio.TaskGroup) -> None:
        self._url = url
        self._namespace = namespace
        self._tasks = tasks
        self._stops: list[asyncio.Event] = []

    def start(
        self,
        executor: Executor,
        *,
        url: str | None = None,
        blobs: BlobStore | None = None,
        drain_seconds: float = 5.0,
    ) -> asyncio.Task[None]:
        """Serve in a task of the test."""
        stop = asyncio.Event()
        self._stops.append(stop)
        return self._tasks.create_task(
            executor.serve(
                url or self._url,
                namespace=self._namespace,
                blobs=blobs,
                drain_seconds=drain_seconds,
                stop=stop,
            )
        )

    def stop(self) -> None:
        """Tell all executors to stop."""
        for stop in self._stops:
            stop.set()


@pytest.fixture
async def serving(amqp_url: str, namespace: str) -> AsyncIterator[Serving]:
    """Start executors with it; they are stopped in good order at the end."""
    async with asyncio.TaskGroup() as tasks:
        serving = Serving(amqp_url, namespace, tasks)
        yield serving
        serving.stop()
