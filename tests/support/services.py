"""One broker, one database server and one S3 server for a whole test run.

Starting a broker takes seconds, so the processes of pytest-xdist share one. The process that
controls the run owns the services and hears requests on a Unix socket; the first request for
a service starts it, and all end with the run (or with its death: see worker.sandbox). A run
without xdist takes the same road.
"""

import contextlib
import json
import socket
import socketserver
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict
from enum import StrEnum
from typing import Any, TypeVar, assert_never

from worker.sandbox import S3Address, start_object_store, start_postgresql, start_rabbitmq
from worker.sandbox.enclosure import Enclosure

_ANSWER_SECONDS = 1000.0

T = TypeVar("T")


class Shared(StrEnum):
    """The services that tests share."""

    RABBITMQ = "rabbitmq"
    POSTGRESQL = "postgresql"
    OBJECT_STORE = "object_store"


class Services:
    """The shared services of one run, each started at its first use."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._locks = {service: threading.Lock() for service in Shared}
        self._found: dict[Shared, dict[str, Any]] = {}

    def obtain(self, service: Shared) -> dict[str, Any]:
        """Return where the service is, or why it cannot be had (key `unavailable`)."""
        with self._locks[service]:
            if service not in self._found:
                self._found[service] = self._start(service)
            return self._found[service]

    def close(self) -> None:
        """End everything that was started."""
        self._stack.close()

    def _start(self, service: Shared) -> dict[str, Any]:
        try:
            match service:
                case Shared.RABBITMQ:
                    return {"url": self._enter(start_rabbitmq).url}
                case Shared.POSTGRESQL:
                    return {"url": self._enter(start_postgresql).url}
                case Shared.OBJECT_STORE:
                    return asdict(self._enter(start_object_store).address)
                case _:
                    assert_never(service)
        except Exception as error:  # noqa: BLE001 -- the answer goes to another process
            return {"unavailable": str(error)}

    def _enter(self, start: Callable[[], AbstractContextManager[T]]) -> T:
        return self._stack.enter_context(start())


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        service = Shared(self.rfile.readline().decode().strip())
        server = self.server
        assert isinstance(server, _Server)
        self.wfile.write(json.dumps(server.services.obtain(service)).encode())


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def __init__(self, path: str, services: Services) -> None:
        super().__init__(path, _Handler)
        self.services = services


class Desk:
    """Where the processes of a run ask for services."""

    def __init__(self) -> None:
        self._services = Services()
        self._enclosure = Enclosure("tests")
        self.path = str(self._enclosure.directory / "desk.sock")
        self._server = _Server(self.path, self._services)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening and end the services."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._services.close()
        self._enclosure.close()


def ask(desk: str, service: Shared) -> dict[str, Any]:
    """Return where a shared service is.

    Raises:
        AssertionError: it cannot be had; a failure that says how to get it, never a skip.
    """
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.settimeout(_ANSWER_SECONDS)
        connection.connect(desk)
        connection.sendall(f"{service}\n".encode())
        with connection.makefile("rb") as answer:
            found: dict[str, Any] = json.loads(answer.read())
    if "unavailable" in found:
        raise AssertionError(found["unavailable"])
    return found


def object_store_address(found: dict[str, Any]) -> S3Address:
    """Read the address of the S3 server from an answer."""
    return S3Address(**found)
