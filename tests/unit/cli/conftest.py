"""The command line on a database that some work was done in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import pytest

from store import migrations
from tests.support.place import SECRET, Place, furnished
from worker.cli.invocation import invoke


@dataclass(frozen=True, slots=True)
class Said:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, object]]:
        """What it said with ``--json``."""
        return [msgspec.json.decode(line) for line in self.out.splitlines()]


Say = Callable[..., Said]


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Make the database, once: these commands only look."""
    url = f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('place')}/meerkat.db"
    migrations.upgrade(url)
    return asyncio.run(furnished(url))


@pytest.fixture
def say(
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    logging_as_found: None,  # noqa: ARG001  # commands set logging up
) -> Say:
    """Run a command on that database, with no broker in reach."""
    monkeypatch.setenv("MEERKAT_DATABASE_URL", place.url)
    monkeypatch.setenv("MEERKAT_AMQP_URL", f"amqp://u:{SECRET}@127.0.0.1:1/")

    def run(*arguments: object) -> Said:
        code = invoke([str(argument) for argument in arguments])
        return Said(code, *capsys.readouterr())

    return run
