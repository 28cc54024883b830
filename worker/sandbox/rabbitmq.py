"""A RabbitMQ broker: given, contained, or a private node of an installed release.

The private node follows RabbitMQ's environment variables as its start script reads them
(rabbitmq-env); Debian's 3.10 and generic releases of 4.x work alike.
"""

import os
import secrets
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from worker.broker.connection import address_of
from worker.broker.errors import BrokerUnavailableError
from worker.sandbox import locate
from worker.sandbox.account import Account, unprivileged
from worker.sandbox.carriers import Carrier, Elsewhere, ProcessCarrier
from worker.sandbox.containers import Image, contained, engine_answers
from worker.sandbox.enclosure import Enclosure, Program, clean_environment
from worker.sandbox.install import Software, ensure
from worker.sandbox.node import Node
from worker.sandbox.ports import free_ports
from worker.sandbox.unavailable import ServiceUnavailable

ADDRESS = "MEERKAT_AMQP_URL"
IMAGE = "rabbitmq:4"
_GIVEN_SECONDS = 10.0
_USER = "meerkat"


class RabbitMQ(Node):
    """A running broker and its address."""

    def __init__(self, url: str, carrier: Carrier, *, name: str = "RabbitMQ") -> None:
        super().__init__(name, carrier, lambda: answers(url))
        self.url = url


@contextmanager
def start_rabbitmq(*, private: bool = False, config: Sequence[str] = ()) -> Iterator[RabbitMQ]:
    """Give a broker that answers; see the package for where it comes from.

    Args:
        private: a node of its own even where an address is given, to be killed and paused.
        config: lines for rabbitmq.conf; they make the node private.

    Raises:
        ServiceUnavailable: there is none to be had; the text says how to get one.
    """
    url = os.environ.get(ADDRESS)
    if url and not private and not config:
        broker = RabbitMQ(url, Elsewhere("RabbitMQ"), name=_named(url))
        broker.wait_ready(_GIVEN_SECONDS)
        yield broker
    elif engine_answers():
        with _in_container(config) as broker:
            yield broker
    else:
        with _installed(config) as broker:
            yield broker


def _named(url: str) -> str:
    """Say where the broker is that we were told to use."""
    try:
        return f"RabbitMQ at {address_of(url)} ({ADDRESS})"
    except BrokerUnavailableError as error:
        raise ServiceUnavailable(f"{ADDRESS}: {error}") from error


def answers(url: str) -> bool:
    """Say whether a broker at the address begins the AMQP 0-9-1 handshake."""
    parts = urlsplit(url)
    if parts.scheme == "amqps":
        return _accepts(parts.hostname or "localhost", parts.port or 5671)
    return _greets(parts.hostname or "localhost", parts.port or 5672)


def _accepts(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def _greets(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=1) as connection:
            connection.sendall(b"AMQP\x00\x00\x09\x01")
            # A method frame on channel 0: connection.start.
            return connection.recv(3) == b"\x01\x00\x00"
    except OSError:
        return False


@contextmanager
def _in_container(config: Sequence[str]) -> Iterator[RabbitMQ]:
    password = secrets.token_hex(16)
    image = Image(
        name=IMAGE,
        port=5672,
        environment={"RABBITMQ_DEFAULT_USER": _USER, "RABBITMQ_DEFAULT_PASS": password},
        files={"/etc/rabbitmq/conf.d/90-sandbox.conf": "".join(f"{line}\n" for line in config)},
    )
    with contained(image) as carrier:
        broker = RabbitMQ(_url(password, carrier.host, carrier.port), carrier)
        broker.wait_ready()
        yield broker


@contextmanager
def _installed(config: Sequence[str]) -> Iterator[RabbitMQ]:
    script = ensure(Software.RABBITMQ)
    enclosure, broker = _started(script, config)
    with enclosure:
        yield broker


def _started(script: Path, config: Sequence[str]) -> tuple[Enclosure, RabbitMQ]:
    """Start a node as ourselves; where a release refuses root, as somebody else."""
    try:
        return _started_as(None, script, config)
    except ServiceUnavailable as refused:
        account = unprivileged()
        if account is None:
            raise
        try:
            return _started_as(account, script, config)
        except ServiceUnavailable:
            raise refused from None


def _started_as(
    account: Account | None, script: Path, config: Sequence[str]
) -> tuple[Enclosure, RabbitMQ]:
    enclosure = Enclosure("rabbitmq", account)
    try:
        broker = _launch(enclosure, script, config)
        broker.wait_ready()
    except BaseException:
        enclosure.close()
        raise
    return enclosure, broker


def _launch(enclosure: Enclosure, script: Path, config: Sequence[str]) -> RabbitMQ:
    amqp, distribution, mapper = free_ports(3)
    password = secrets.token_hex(16)
    settings = [
        f"listeners.tcp.1 = 127.0.0.1:{amqp}",
        f"default_user = {_USER}",
        f"default_pass = {password}",
        # A sandbox must run where the disk is nearly full; the default asks for more.
        "disk_free_limit.absolute = 50MB",
        *config,
    ]
    enclosure.write("rabbitmq.conf", "".join(f"{line}\n" for line in settings))
    environment = _environment(enclosure, distribution, mapper)
    _start_port_mapper(enclosure, environment)
    program = Program(command=(str(script),), environment=environment, log="rabbitmq.log")
    broker = RabbitMQ(_url(password, "127.0.0.1", amqp), ProcessCarrier(enclosure, program))
    broker.start()
    return broker


def _environment(enclosure: Enclosure, distribution: int, mapper: int) -> dict[str, str]:
    directory = enclosure.directory
    return clean_environment() | {
        "HOME": str(enclosure.folder("home")),
        "RABBITMQ_NODENAME": f"{directory.name}@localhost",
        "RABBITMQ_MNESIA_BASE": str(enclosure.folder("data")),
        "RABBITMQ_LOG_BASE": str(enclosure.folder("log")),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_GENERATED_CONFIG_DIR": str(enclosure.folder("generated")),
        "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq.conf"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(directory / "advanced.config"),
        # Empty, so that nothing in /etc/rabbitmq speaks into this node.
        "RABBITMQ_CONF_ENV_FILE": str(enclosure.write("rabbitmq-env.conf", "")),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(enclosure.write("enabled_plugins", "[].\n")),
        "RABBITMQ_PID_FILE": str(directory / "pid"),
        "RABBITMQ_DIST_PORT": str(distribution),
        "ERL_EPMD_PORT": str(mapper),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_CRASH_DUMP": str(directory / "erl_crash.dump"),
        # Erlang's threads spin for work before they sleep. The cores are for others too.
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none +sbwtdcpu none +sbwtdio none",
        # The start script then becomes the broker (exec), so that our child's number is the
        # broker's and SIGKILL reaches it.
        "detached": "1",
    }


def _start_port_mapper(enclosure: Enclosure, environment: dict[str, str]) -> None:
    """Start epmd ourselves: the one that Erlang starts would leave this family and stay."""
    program = locate.epmd()
    if program is None:
        raise ServiceUnavailable("RabbitMQ needs Erlang, and neither erl nor epmd is on the PATH")
    port = environment["ERL_EPMD_PORT"]
    command = (str(program), "-port", port, "-address", "127.0.0.1")
    mapper = ProcessCarrier(
        enclosure, Program(command=command, environment=environment, log="epmd.log")
    )
    mapper.start()
    Node("epmd", mapper, lambda: _accepts("127.0.0.1", int(port))).wait_ready()


def _url(password: str, host: str, port: int) -> str:
    return f"amqp://{_USER}:{password}@{host}:{port}/"
