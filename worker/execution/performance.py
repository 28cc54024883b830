"""A performance: one run carried out, from its start to the event that ends it."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

import msgspec
import structlog

from schemas.envelope import Envelope, MessageType, decode
from schemas.runs import RunCancelled, RunCompleted, RunEvent, RunFailed, RunHeartbeat
from worker.execution.errors import Fatal, LeaseLostError, Retryable
from worker.execution.lease import Lease
from worker.execution.run import Report, Run

Function: TypeAlias = Callable[[Run], Awaitable[Any]]
"""The users' code: takes a run, answers with any JSON."""

BEATS_PER_LEASE: Final = 3
"""Two heartbeats may go missing before the lease does."""

_LONGEST_ERROR: Final = 2000

log = structlog.get_logger()


class Performance:
    """Runs the function under the run's lease, and says how it ended.

    Args:
        run: What the function gets.
        lease: Ends the performance when it passes.
        report: Tells the runtime, insisting until the lease has passed.
        cancel_grace: Seconds a function has to react to ``run.cancelled`` by itself.
    """

    def __init__(self, run: Run, lease: Lease, report: Report, cancel_grace: float) -> None:
        self.run = run
        self._lease = lease
        self._report = report
        self._cancel_grace = cancel_grace
        self._working: asyncio.Task[Any] | None = None
        self._handed_back = False

    def cancel(self) -> None:
        """Ask the function to give up, and make it after the grace."""
        if not self.run.cancelled.is_set():
            self.run.cancelled.set()
            asyncio.get_running_loop().call_later(self._cancel_grace, self._halt)

    def interrupt(self) -> None:
        """Ask the function to yield at its next boundary."""
        self.run.interrupted.set()

    def hand_back(self) -> None:
        """Stop now; the run failed for no fault of its own and is tried again."""
        self._handed_back = True
        self._halt()

    async def perform(self, function: Function) -> RunEvent:
        """Carry the run out; return the event that ended it, once the broker has that.

        Raises:
            LeaseLostError: The lease passed; whatever the function did counts for nothing.
        """
        self._working = asyncio.create_task(self._work(function))
        beating = asyncio.create_task(self._beat())
        try:
            await asyncio.wait({self._working, beating}, return_when=asyncio.FIRST_COMPLETED)
            if not self._working.done():
                beating.result()  # only a lost lease ends the beat
            ending = self._ending(self._working)
            await self._report(ending)
        finally:
            await _put_down(self._working, beating)
        return ending

    def _halt(self) -> None:
        if self._working is not None:
            self._working.cancel()

    async def _work(self, function: Function) -> object:
        result: object = await function(self.run)
        if self.run.waiting and not self.run.cancelled.is_set():
            await self.run.boundary()
        return result

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._lease.seconds / BEATS_PER_LEASE)
            await self._lease.renew(lambda: self._report(RunHeartbeat(self.run.run_id)))

    def _ending(self, working: asyncio.Task[Any]) -> RunEvent:
        run_id = self.run.run_id
        failure = None if working.cancelled() else working.exception()
        if isinstance(failure, LeaseLostError):
            raise failure
        if self.run.cancelled.is_set():
            return RunCancelled(run_id)
        if working.cancelled():
            why = "the executor is shutting down" if self._handed_back else "it cancelled itself"
            return RunFailed(run_id, why, recoverable=True)
        if failure is not None:
            about = {"run_id": str(run_id), "runtime_id": self.run.runtime_id}
            log.warning("run: the function failed", **about, **_fault(failure))
            return RunFailed(run_id, _told(failure), recoverable=not isinstance(failure, Fatal))
        return self._completed(working.result())

    def _completed(self, result: object) -> RunEvent:
        """Check a result here as the worker will there: what it would refuse is a failure."""
        ending = RunCompleted(self.run.run_id, self.run.applied, result)
        try:
            _check(self.run.runtime_id, ending)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            return RunFailed(
                ending.run_id, f"a result that cannot be sent: {error}", recoverable=False
            )
        return ending


def _check(runtime_id: str, event: RunEvent) -> None:
    body = msgspec.json.encode(event)
    envelope = Envelope(runtime_id, body, str(event.run_id), MessageType.RUN_EVENT)
    decode(envelope, received_at=datetime.now(UTC))


def _fault(failure: BaseException) -> dict[str, str]:
    """Say what was raised, and where; not its text, which may quote what the run is about."""
    fault = {"error": type(failure).__name__}
    # By hand: extract_tb reads the source of every frame from the disk.
    for frame, line in traceback.walk_tb(failure.__traceback__):
        code = frame.f_code
        fault |= {"at": f"{code.co_filename}:{line}", "function": code.co_name}
    return fault


def _told(failure: BaseException) -> str:
    text = str(failure)
    if not isinstance(failure, Retryable | Fatal) or not text:
        text = f"{type(failure).__name__}: {text}".removesuffix(": ")
    return text[:_LONGEST_ERROR]


async def _put_down(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
