"""Listening: a socket taken before anything else starts, and a web server on it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import uvicorn

GRACE_SECONDS: Final = 5
"""How long open requests may take when the server is told to stop."""


class PortError(OSError):
    """An address that cannot be listened on."""


def listen(host: str, port: int, *, part: str, remedy: str) -> socket.socket:
    """Listen, so that a taken port is known at once. Port 0 takes any free one.

    Args:
        host: A name or an address.
        port: The port.
        part: Who wants it, for the error.
        remedy: What a person can do about a port that is taken.

    Raises:
        PortError: The address is in use or not ours.
    """
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, proto)
    except OSError as error:
        raise PortError(f"{part}: cannot resolve {host}: {error.strerror}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except OSError as error:
        listener.close()
        raise PortError(
            f"{part}: cannot listen on {host}:{port}: {error.strerror}; {remedy}"
        ) from error
    return listener


@contextlib.asynccontextmanager
async def answering(app: Any, listener: socket.socket, name: str) -> AsyncIterator[int]:  # noqa: ANN401  # any ASGI application
    """Serve an application while the context lasts, and close the socket; yields the port."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="off",
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]), name=name)
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await task
        listener.close()


class _Server(uvicorn.Server):
    """A server that leaves signals to the process: what SIGTERM means is not its business."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
