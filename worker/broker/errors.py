"""What can go wrong with the broker, and the one border where the client's errors become ours."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from aiormq.exceptions import (
    AMQPError,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    ConnectionInternalError,
    DeliveryError,
    InvalidFrameError,
    ProbableAuthenticationError,
    PublishError,
)
from pamqp.exceptions import PAMQPException


class BrokerError(Exception):
    """Anything that goes wrong with the broker. The text is one sentence for people."""


class BrokerUnavailableError(BrokerError):
    """The broker cannot be reached, or was lost while something was under way."""


class NoAnswerError(BrokerUnavailableError):
    """The broker is there, but did not answer in time."""


class BrokerUnsupportedError(BrokerError):
    """The broker is too old."""


class QueueMissingError(BrokerError):
    """A queue or an exchange that was named does not exist."""


class QueueBrokenError(BrokerError):
    """The broker answered INTERNAL_ERROR: what a quorum queue does whose broker died too early."""


class TopologyClashError(BrokerError):
    """Something of ours is on the broker already, made with other arguments."""


class PublishFailedError(BrokerError):
    """A message was not confirmed. It may have arrived: publish it again with the same id."""


class UnroutableError(PublishFailedError):
    """The broker gave a message back: no queue is bound for it. It has not arrived anywhere."""


_FOREIGN = (AMQPError, OSError, RuntimeError, TimeoutError, PAMQPException)


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn the client's errors into ours, with their cause; ``doing`` begins the sentence.

    A real cancellation passes. When a connection dies, aiormq also ends its waiters with
    ``CancelledError`` or with a bare ``Exception``: these count as a lost connection.
    """
    before = _cancellations()
    try:
        yield
    except BrokerError:
        raise
    except asyncio.CancelledError as error:
        if _cancellations() > 0:
            raise
        raise BrokerUnavailableError(f"{doing}: the connection was lost") from error
    except Exception as error:
        if isinstance(error, _FOREIGN) or type(error) is Exception:
            raise ours(error, doing) from error
        raise
    if _cancellations() > before:
        # aiormq waits by asyncio.wait_for, which until Python 3.12 forgets a cancellation that
        # meets the answer (cpython #86296); whoever asked would wait for us for ever.
        raise asyncio.CancelledError


_KINDS: Final[tuple[tuple[type[BaseException], type[BrokerError], str | None], ...]] = (
    (PublishError, UnroutableError, "no queue is bound for it"),
    (DeliveryError, PublishFailedError, "the broker refused the message"),
    (ChannelPreconditionFailed, TopologyClashError, None),
    (ChannelNotFoundEntity, QueueMissingError, None),
    (ConnectionInternalError, QueueBrokenError, None),
    (
        ProbableAuthenticationError,
        BrokerUnavailableError,
        "the broker refused the user name or password",
    ),
    (
        InvalidFrameError,
        BrokerUnavailableError,
        "the broker ended the conversation: is the virtual host right, and may the user enter it?",
    ),
    (TimeoutError, NoAnswerError, "no answer in time"),
)
"""The client's errors and ours, first match wins; no text means the broker's own words."""


def ours(error: BaseException, doing: str) -> BrokerError:
    """Tell which of our errors one of the client's is."""
    for foreign, kind, text in _KINDS:
        if isinstance(error, foreign):
            return kind(f"{doing}: {text or reason_of(error)}")
    return BrokerUnavailableError(f"{doing}: {reason_of(error)}")


def reason_of(error: BaseException) -> str:
    """The reason alone; a bare or empty error is what a closing connection leaves behind."""
    if isinstance(error, OSError) and error.strerror:
        # Event loops have their own words for a refused connection; the system has one. The number
        # may be of AMQP as well, with the broker's words.
        number = error.errno or 0
        return os.strerror(number) if number in errno.errorcode else error.strerror
    text = " ".join(str(part) for part in error.args if part is not None)
    return text or "the connection was lost"


def _cancellations() -> int:
    """How often this task was asked to stop; one that is not a task cannot be."""
    task = asyncio.current_task()
    return 1 if task is None else task.cancelling()
