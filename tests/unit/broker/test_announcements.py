"""Announcements are the bytes that the client would have sent."""

from uuid import uuid4

import pytest
from aiormq.abc import ChannelFrame
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from worker.broker.announcements import framed
from worker.broker.publisher import Outgoing

MOST = 16


@pytest.mark.parametrize("size", [0, 1, MOST, MOST + 1, 3 * MOST])
def test_bytes_are_the_clients_own(size: int) -> None:
    """The frames that are written at once are, byte for byte, what the client makes of them."""
    about = {"message_id": str(uuid4()), "type": "runtime_event"}
    message = Outgoing("meerkat.events", "input.accepted.agent-1", b"{" * size, about)
    properties = Basic.Properties(
        content_type="application/json",
        delivery_mode=2,
        headers={"schema": 1},
        message_id=about["message_id"],
        message_type="runtime_event",
    )
    theirs = ChannelFrame.marshall(
        3,
        [
            Basic.Publish(exchange=message.exchange, routing_key=message.routing_key),
            ContentHeader(body_size=size, properties=properties),
            *(ContentBody(message.body[at : at + MOST]) for at in range(0, size, MOST)),
        ],
    )
    assert framed(3, message, most=MOST) == theirs.payload
