"""A sandbox takes everything away: at its end, and when its process is killed."""

import asyncio
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from worker.sandbox import (
    Node,
    ServiceUnavailable,
    start_object_store,
    start_postgresql,
    start_rabbitmq,
)
from worker.sandbox.containers import engine_answers
from worker.sandbox.enclosure import Enclosure, Program, clean_environment

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux /proc")

_HOLDER = """
import sys, time
from worker.sandbox.enclosure import Enclosure, Program
with Enclosure("holder") as enclosure:
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"
    enclosure.spawn(Program(command=(sys.executable, "-c", stubborn, str(enclosure.directory))))
    print(enclosure.directory, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def no_docker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have services come from installed programs, also where a Docker engine answers."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent.sock")
    engine_answers.cache_clear()
    yield
    engine_answers.cache_clear()


def _said_by(process: Path) -> str:
    try:
        words = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
    except OSError:
        return ""
    return words.decode(errors="replace")


def _processes_of(directory: str) -> list[str]:
    """Name the processes whose command or environment mentions a directory."""
    return [path.name for path in Path("/proc").glob("[0-9]*") if directory in _said_by(path)]


def _directory_of(node: Node) -> str:
    found = re.search(r"[^\0=]*/meerkat-[a-z-]+-\w+", _said_by(Path(f"/proc/{node.pid}")))
    assert found is not None
    return found.group()


@pytest.mark.slow
@pytest.mark.usefixtures("no_docker")
@pytest.mark.parametrize("start", [start_rabbitmq, start_postgresql, start_object_store])
def test_the_end_of_a_service_leaves_no_process_and_no_directory(
    start: Callable[..., AbstractContextManager[Node]],
) -> None:
    """When the context ends, all that belonged to the service is gone, helpers included."""
    with start(private=True) as node:
        directory = _directory_of(node)
        assert Path(directory).is_dir()
        assert str(node.pid) in _processes_of(directory)
    assert not Path(directory).exists()
    assert _processes_of(directory) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_nothing_outlives_the_process_that_started_it(number: signal.Signals) -> None:
    """Ctrl-C, SIGTERM and kill -9 of the owner take its services and its directory along."""
    directory = await asyncio.to_thread(_held_until, number)
    await eventually(lambda: not directory.exists(), 30, "the directory is gone")
    await eventually(lambda: not _processes_of(str(directory)), 30, "the processes are gone")


def _held_until(number: signal.Signals) -> Path:
    """Start a process with an enclosure, end it with a signal, return the directory."""
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with holder:
        try:
            assert holder.stdout is not None
            directory = Path(holder.stdout.readline().strip())
            assert directory.is_dir()
            _wait_for_processes(str(directory))
            holder.send_signal(number)
            assert holder.wait(30) != 0
        finally:
            holder.kill()
    return directory


def _wait_for_processes(directory: str, seconds: float = 30) -> None:
    """A process that has just been started shows its maker's words until it has its own."""
    end = time.monotonic() + seconds
    while not _processes_of(directory):
        assert time.monotonic() < end, "the program does not run"
        time.sleep(0.02)


def test_an_error_in_the_body_takes_the_service_away_too() -> None:
    """An exception leaves the context through the same door."""
    with pytest.raises(ZeroDivisionError), Enclosure("test") as enclosure:
        raise ZeroDivisionError
    assert not enclosure.directory.exists()


def test_a_process_that_was_waited_for_is_forgotten() -> None:
    """The watchdog is told of an end, so that it never signals a number given to another."""
    with Enclosure("test") as enclosure:
        command = (sys.executable, "-c", "pass")
        process = enclosure.spawn(Program(command=command, environment=clean_environment()))
        assert process.wait(10) == 0
        enclosure.forget(process)
        enclosure.forget(process)
    assert not enclosure.directory.exists()


def test_a_program_that_is_missing_is_named() -> None:
    """The error names the program that cannot be started."""
    with (
        Enclosure("test") as enclosure,
        pytest.raises(ServiceUnavailable, match="cannot start /nonexistent/program"),
    ):
        enclosure.spawn(Program(command=("/nonexistent/program",)))
