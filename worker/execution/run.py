"""The run as an executor's function sees it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeAlias

from schemas.ids import InputId, RunId, RuntimeId
from schemas.inputs import TurnMetadata
from schemas.runs import Append, BoundaryApplied, Receipt, RunEvent, RunRequest, SessionSnapshot
from store.errors import BlobStoreUnavailableError
from worker.execution.lease import Lease
from worker.execution.snapshot import Snapshots

Report: TypeAlias = Callable[[RunEvent], Awaitable[None]]
"""Tells the runtime one thing about the run; returns once the broker has it."""


class Run:
    """One run: what is to be applied, and the means to say that it was.

    Attributes:
        run_id: Names the run.
        runtime_id: Names the runtime whose inputs these are.
        attempt: Counts from 1: the highest attempt among the inputs.
        inputs: The messages to append to the conversation, in order.
        input_ids: The inputs that the run stands for; some append nothing.
        turn_metadata: Hints for the turn, merged over the inputs.
        cancelled: Set when the run is to be given up. A function that goes on regardless is
            cancelled after the executor's ``cancel_grace``.
        interrupted: Set when something waits that wants to steer: reach a boundary and return soon.
    """

    def __init__(
        self, request: RunRequest, *, report: Report, lease: Lease, snapshots: Snapshots
    ) -> None:
        self.run_id: RunId = request.run_id
        self.runtime_id: RuntimeId = RuntimeId(request.runtime_id)
        self.attempt: int = request.attempt
        self.inputs: tuple[Append, ...] = request.primitive.appends
        self.input_ids: tuple[InputId, ...] = request.primitive.contributing_input_ids
        self.turn_metadata: TurnMetadata = request.primitive.turn_metadata or TurnMetadata()
        self.cancelled = asyncio.Event()
        self.interrupted = asyncio.Event()
        self._request = request
        self._report = report
        self._lease = lease
        self._snapshots = snapshots
        self._applied: dict[InputId, None] = {}
        self._next_sequence = 0
        self._one_boundary = asyncio.Lock()

    @property
    def applied(self) -> tuple[InputId, ...]:
        """The inputs that some boundary of this run has applied, in the order of the batch."""
        return tuple(each for each in self.input_ids if each in self._applied)

    @property
    def waiting(self) -> tuple[InputId, ...]:
        """The inputs that no boundary of this run has applied yet, in the order of the batch."""
        return tuple(each for each in self.input_ids if each not in self._applied)

    async def snapshot(self) -> bytes | None:
        """Load the session as the runtime's last boundary left it; None if it never left any.

        Raises:
            SnapshotError: The blob is missing, or this executor has no blob store.
            LeaseLostError: The blob store was away until the lease had passed.
        """
        return await self._lease.insist(
            lambda: self._snapshots.load(self._request.session_snapshot),
            (BlobStoreUnavailableError,),
        )

    async def boundary(
        self,
        snapshot: bytes | None = None,
        messages: int | None = None,
        inputs: Iterable[InputId] | None = None,
    ) -> Receipt:
        """Say that inputs were applied to the conversation; return once the broker has the receipt.

        From then on these inputs are consumed at the run's end, however it ends.

        Args:
            snapshot: The session to go on from next time. Its SHA-256 goes into the receipt.
            messages: How many messages the conversation holds now. Left out: those of this run.
            inputs: Which inputs were applied. Left out: all that no boundary has applied yet.

        Raises:
            ValueError: An input that is not of this run, or was applied before.
            SnapshotError: The snapshot is large and this executor has no blob store.
            LeaseLostError: The run is somebody else's now.
        """
        async with self._one_boundary:
            applied = self.waiting if inputs is None else self._checked(tuple(inputs))
            receipt = self._receipt(applied, snapshot, messages)
            kept = None if snapshot is None else await self._keep(snapshot)
            await self._report(BoundaryApplied(self.run_id, receipt, kept))
            self._applied.update(dict.fromkeys(applied))
            self._next_sequence += 1
        return receipt

    def _checked(self, inputs: tuple[InputId, ...]) -> tuple[InputId, ...]:
        waiting = self.waiting
        if strangers := [str(each) for each in inputs if each not in waiting]:
            raise ValueError(f"expected inputs that wait in this run, got {', '.join(strangers)}")
        return tuple(dict.fromkeys(inputs))

    def _receipt(
        self, applied: tuple[InputId, ...], snapshot: bytes | None, messages: int | None
    ) -> Receipt:
        return Receipt(
            run_id=self.run_id,
            boundary=self._request.primitive.boundary,
            contributing_input_ids=applied,
            message_count=len(self.inputs) if messages is None else messages,
            sequence=self._next_sequence,
            conversation_digest=None if snapshot is None else hashlib.sha256(snapshot).hexdigest(),
        )

    async def _keep(self, snapshot: bytes) -> SessionSnapshot:
        return await self._lease.insist(
            lambda: self._snapshots.keep(snapshot), (BlobStoreUnavailableError,)
        )
