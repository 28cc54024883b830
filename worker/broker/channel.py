"""Channel: the client's, but that it hands a delivery over without making a task of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from uuid import uuid4

import aiormq
from aiormq.abc import DeliveredMessage, FrameType
from aiormq.exceptions import InvalidFrameError
from pamqp.commands import Basic
from pamqp.header import ContentHeader

Take = Callable[[DeliveredMessage], None]


class Channel(aiormq.Channel):
    """A channel that can also ``take`` from a queue.

    The client makes a task of each delivery, and keeps it in two sets with two callbacks until it
    is done: a tenth of what a message costs a busy worker, who only notes it down.
    """

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - the client's own
        super().__init__(*args, **options)
        self._takers: Final[dict[str, Take]] = {}

    async def take(self, queue: str, taker: Take, *, timeout: float) -> None:  # noqa: ASYNC109 - the client's word
        """Consume a queue; ``taker`` is called in the broker's order, and must not raise."""
        tag = f"meerkat-{uuid4().hex}"
        self._takers[tag] = taker
        await self.basic_consume(queue, _never, consumer_tag=tag, timeout=timeout)

    async def _on_deliver_frame(self, frame: Basic.Deliver) -> None:
        taker = self._takers.get(frame.consumer_tag or "")
        if taker is None:
            await super()._on_deliver_frame(frame)
            return
        header: FrameType = await self._get_frame()
        if not isinstance(header, ContentHeader):
            raise InvalidFrameError(header)
        taker(await self._read_content(frame, header))


async def _never(_message: DeliveredMessage) -> None:
    raise AssertionError("a taker's delivery came by the client's way")
