"""The broker, as a page sees it: asked, and never waited for."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from schemas.ids import RuntimeId
from worker.broker.connection import Connection
from worker.broker.errors import BrokerError, BrokerUnavailableError
from worker.broker.link import Link
from worker.broker.topology import Topology
from worker.driver.explain import Surroundings
from worker.explanation import seen

ASK_SECONDS: Final = 2.0
"""How long a page waits for the broker's answer."""


@dataclass(frozen=True, slots=True)
class Broker:
    """A link to the broker, which may be down."""

    link: Link
    topology: Topology
    pool: str

    def require(self) -> Connection:
        """Have the connection.

        Raises:
            BrokerUnavailableError: There is none now; says why.
        """
        if self.link.connection is None:
            reason = self.link.last_error or "no answer yet"
            raise BrokerUnavailableError(f"no connection to the broker: {reason}")
        return self.link.connection

    async def around(self, runtime_id: RuntimeId) -> tuple[Surroundings, str | None]:
        """Look at a runtime's queues; answers too why they could not be looked at."""
        try:
            connection = self.require()
            async with asyncio.timeout(ASK_SECONDS):
                return await seen(connection, self.topology, self.pool, runtime_id), None
        except BrokerError as error:
            why = str(error)
        except TimeoutError:
            why = f"no answer within {ASK_SECONDS:g} s"
        return Surroundings(pool=self.pool), f"The broker could not be asked: {why}."
