"""Acks: those of all consumers of a connection, in one write a turn of the event loop.

A worker acks many queues at once, for their messages were committed together.
"""

from __future__ import annotations

import asyncio
import struct
from typing import Final, Protocol

from aiormq.abc import AbstractConnection, ChannelFrame

FULL_SECONDS: Final = 0.001
"""Between two looks at the connection's queue when the broker does not read."""


class Acker(Protocol):
    """Who has acks to send: a consumer."""

    def take_acks(self) -> bytes:
        """Hand over the frames of what is due; none for a channel that has closed.

        The broker ends a connection over a frame on a channel that is not open.
        """
        ...


class Acks:
    """Sends the acks of a connection."""

    def __init__(self, wire: AbstractConnection) -> None:
        self._queue = wire.write_queue
        self._due: list[Acker] = []
        self._task: asyncio.Task[None] | None = None
        self._stopped = False

    def due(self, acker: Acker) -> None:
        """Have an acker's frames taken with the next write."""
        self._due.append(acker)
        if self._task is None and not self._stopped:
            # It begins with the next turn of the loop, and so takes all acks of this one.
            self._task = asyncio.create_task(self._send_all(), name="acks")

    async def sent(self) -> None:
        """Wait until nothing is due, or the connection is lost."""
        if self._task is not None:
            await asyncio.wait({self._task})

    def stop(self) -> None:
        """Send no more: nobody empties the queue of a dead connection, it would wait for ever."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()

    async def _send_all(self) -> None:
        try:
            while self._due:
                # First the room, then what goes there: nothing can close in between.
                while self._queue.full():  # noqa: ASYNC110 - the client's queue has no event
                    await asyncio.sleep(FULL_SECONDS)
                due, self._due = self._due, []
                frames = b"".join([acker.take_acks() for acker in due])
                self._queue.put_nowait(ChannelFrame(frames, should_close=False))
        finally:
            self._task = None


_ACK: Final = struct.Struct(">BHIHHQBB")
_SIZE: Final = 13
_METHOD, _END = 1, 0xCE


def ack_frame(channel: int, tag: int, *, multiple: bool) -> bytes:
    """Write a ``basic.ack``: of one delivery, or of all up to it."""
    return _ACK.pack(_METHOD, channel, _SIZE, 60, 80, tag, multiple, _END)
