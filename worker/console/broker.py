"""The broker, as a page sees it: asked and published to, never waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from schemas.ids import RuntimeId
from schemas.records import OutboxMessage
from worker.broker.connection import Connection
from worker.broker.errors import BrokerError, BrokerUnavailableError
from worker.broker.link import Link
from worker.broker.publisher import Publisher
from worker.broker.topology import Topology
from worker.driver.explain import Surroundings
from worker.explanation import seen

ASK_SECONDS: Final = 2.0
"""How long a page waits for the broker's answer."""


@dataclass(frozen=True, slots=True)
class Broker:
    """A link to the broker that may be down, and a publisher on it."""

    link: Link
    publisher: Publisher
    topology: Topology
    pool: str

    async def publish_many(
        self, messages: Sequence[OutboxMessage], *, mandatory: bool = True
    ) -> Sequence[BrokerError | None]:
        """Publish with confirms; without a connection nothing is tried: workers publish it."""
        if self.link.connection is None:
            return [self._away()] * len(messages)
        return await self.publisher.publish_many(messages, mandatory=mandatory)

    async def around(self, runtime_id: RuntimeId) -> tuple[Surroundings, str | None]:
        """Look at a runtime's queues; answers too why they could not be looked at."""
        try:
            connection = self._connection()
            async with asyncio.timeout(ASK_SECONDS):
                return await seen(connection, self.topology, self.pool, runtime_id), None
        except BrokerError as error:
            why = str(error)
        except TimeoutError:
            why = f"no answer within {ASK_SECONDS:g} s"
        return Surroundings(pool=self.pool), f"The broker could not be asked: {why}."

    def _connection(self) -> Connection:
        if self.link.connection is None:
            raise self._away()
        return self.link.connection

    def _away(self) -> BrokerError:
        reason = self.link.last_error or "no connection yet"
        return BrokerUnavailableError(f"{reason}")
