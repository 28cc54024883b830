"""A service in a container, where a Docker engine answers.

testcontainers is a development dependency and is imported only here, and only when used.
"""

import functools
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from worker.sandbox.ports import free_port
from worker.sandbox.unavailable import ServiceUnavailable

_STOP_SECONDS = 30
_ENGINE_SECONDS = 5
_ENGINE_PORT = 2375
_DEFAULT_ENGINE = "unix:///var/run/docker.sock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What to run in a container: image, port inside, environment, command, files."""

    name: str
    port: int
    environment: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    files: Mapping[str, str] = field(default_factory=dict)


# testcontainers makes one reaper per process, and not with threads in mind.
_CREATION = threading.Lock()


@functools.cache
def engine_answers() -> bool:
    """Ask the Docker engine itself: its command may be on the PATH without one."""
    # Knock first: a client that finds nobody leaves its socket open for the collector, which
    # complains about it in the middle of something else.
    return _somebody_listens() and _ask_engine()


def _somebody_listens() -> bool:
    address = urlsplit(os.environ.get("DOCKER_HOST") or _DEFAULT_ENGINE)
    try:
        match address.scheme:
            case "unix":
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.settimeout(_ENGINE_SECONDS)
                    connection.connect(address.path)
            case "tcp" | "http" | "https":
                where = (address.hostname or "localhost", address.port or _ENGINE_PORT)
                socket.create_connection(where, _ENGINE_SECONDS).close()
            case _:
                return True  # ssh and the like: only the client knows how to knock
    except OSError:
        return False
    return True


def _ask_engine() -> bool:
    try:
        import docker  # noqa: PLC0415 -- a development dependency
        import testcontainers.core.container  # noqa: F401, PLC0415 -- the same
    except ImportError:
        return False
    try:
        client = docker.from_env(timeout=_ENGINE_SECONDS)
    except docker.errors.DockerException:
        return False
    try:
        return bool(client.ping())
    except (docker.errors.DockerException, OSError):
        return False
    finally:
        client.close()


class ContainerCarrier:
    """A service that is a container; its port on this side stays the same over restarts."""

    def __init__(self, image: Image) -> None:
        from testcontainers.core.container import (  # noqa: PLC0415 -- a development dependency
            DockerContainer,
        )

        self.port = free_port()
        container = DockerContainer(image.name).with_bind_ports(image.port, self.port)
        container.with_envs(**image.environment)
        for path, text in image.files.items():
            container.with_copy_into_container(text.encode(), path)
        if image.command:
            container.with_command(image.command)
        self._container = container
        self._created = False

    @property
    def host(self) -> str:
        """The address of the machine on which the engine runs."""
        return str(self._container.get_docker_client().host())

    @property
    def pid(self) -> int | None:
        """None: the process belongs to the engine."""
        return None

    def start(self) -> None:
        """Create the container, or start it again."""
        if self._created:
            self._wrapped().start()
            return
        with _CREATION:
            self._container.start()
        self._created = True

    def kill(self) -> None:
        """SIGKILL its first process."""
        self._wrapped().kill()
        self._wrapped().wait()

    def stop(self) -> None:
        """SIGTERM its first process and wait."""
        self._wrapped().stop(timeout=_STOP_SECONDS)

    def pause(self) -> None:
        """Freeze all its processes."""
        self._wrapped().pause()

    def resume(self) -> None:
        """Thaw them."""
        self._wrapped().unpause()

    def trouble(self) -> str | None:
        """Say that the container has ended, with its last words."""
        if not self._created:
            return "its container was not created"
        container = self._wrapped()
        container.reload()
        if container.status in {"exited", "dead"}:
            return f"its container ended; its log ends:\n{container.logs(tail=15).decode()}"
        return None

    def remove(self) -> None:
        """Remove the container and its data."""
        self._container.stop(force=True, delete_volume=True)

    def _wrapped(self) -> Any:  # noqa: ANN401 -- the docker package has no types
        return self._container.get_wrapped_container()


@contextmanager
def contained(image: Image) -> Iterator[ContainerCarrier]:
    """Give a container that is removed at the end (testcontainers' reaper sees to a crash)."""
    carrier = ContainerCarrier(image)
    try:
        try:
            carrier.start()
        except Exception as error:  # docker and requests raise dozens of their own kinds
            raise ServiceUnavailable(f"Docker cannot run {image.name}: {error}") from error
        yield carrier
    finally:
        carrier.remove()
