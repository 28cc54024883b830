"""The reporter: tells a runtime what happens in one of its runs."""

from __future__ import annotations

from typing import Final

import msgspec
from uuid_utils.compat import uuid7

from schemas.envelope import Envelope, MessageType
from schemas.runs import RunEvent, RunRequest, RunStarted
from worker.broker.errors import BrokerError
from worker.broker.publisher import Outgoing, Publisher
from worker.broker.topology import Topology
from worker.execution.lease import Lease

PUBLISH_SECONDS: Final = 10.0
_SHORTEST_TRY: Final = 0.5


class Reporter:
    """Publishes the run events of one run to the inbox of its runtime.

    An event keeps its id however often it has to be published, so it counts once.
    """

    def __init__(
        self,
        publisher: Publisher,
        topology: Topology,
        request: RunRequest,
        *,
        lease: Lease,
        taken: Envelope,
    ) -> None:
        self._publisher = publisher
        self._exchange = topology.inbox
        self._request = request
        self._lease = lease
        traceparent = taken.headers.get("traceparent")
        self._headers = {} if traceparent is None else {"traceparent": traceparent}

    async def start(self) -> None:
        """Say that the run has begun: once, and with it the lease begins.

        Raises:
            BrokerError: The broker did not confirm it; the request is better given back.
        """
        event = self._outgoing(RunStarted(self._request.run_id))
        await self._lease.renew(lambda: self._publish(event))

    async def report(self, event: RunEvent) -> None:
        """Return once the broker has the event safe, trying until the lease has passed.

        Raises:
            LeaseLostError: It could not be had in time.
        """
        outgoing = self._outgoing(event)
        await self._lease.insist(lambda: self._publish(outgoing), (BrokerError,))

    async def _publish(self, outgoing: Outgoing) -> None:
        seconds = max(_SHORTEST_TRY, min(PUBLISH_SECONDS, self._lease.remaining))
        await self._publisher.publish(outgoing, deadline=seconds)

    def _outgoing(self, event: RunEvent) -> Outgoing:
        return Outgoing(
            exchange=self._exchange,
            routing_key=self._request.runtime_id,
            body=msgspec.json.encode(event),
            properties={
                "message_id": str(uuid7()),
                "type": MessageType.RUN_EVENT.value,
                "headers": self._headers,
            },
        )
