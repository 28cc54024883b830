"""However a command ends, it ends in an exit code of the table and at most one sentence."""

from __future__ import annotations

import importlib
import resource
import subprocess
import sys
from collections.abc import Callable

import pytest

from schemas.errors import MalformedError
from store.errors import BlobMissingError, SchemaError, StoreUnavailableError
from worker.broker.errors import BrokerUnavailableError, PublishFailedError, UnroutableError
from worker.cli import invocation
from worker.cli.faults import KNOWN, Failure, fault_of
from worker.cli.root import COMMANDS
from worker.client import NoReplyError
from worker.exits import ExitCode
from worker.settings import SettingsError

_SECRET = "hunter2"

pytestmark = pytest.mark.usefixtures("logging_as_found")


def _raising(error: BaseException) -> Callable[..., None]:
    def app(*_arguments: object, **_options: object) -> None:
        raise error

    return app


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Failure(ExitCode.NOT_FOUND, "no such thing"), 3),
        (SettingsError("MEERKAT_X: expected y"), 2),
        (StoreUnavailableError("away"), 2),
        (SchemaError("run migrate"), 2),
        (BlobMissingError("sha256:0"), 2),
        (BrokerUnavailableError("away"), 2),
        (UnroutableError("nobody"), 1),
        (PublishFailedError("not confirmed"), 4),
        (NoReplyError("no reply"), 4),
        (MalformedError("$.x", "expected y"), 2),
        (FileNotFoundError(2, "No such file", "trace.jsonl"), 2),
        (ExceptionGroup("many", [BrokerUnavailableError("away")]), 2),
        (KeyboardInterrupt(), 130),
    ],
)
def test_foreseeable_ends_have_codes_and_no_trace(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
) -> None:
    """One line on stderr at most, nothing on stdout, and the code of the table."""
    monkeypatch.setattr(invocation, "app", _raising(error))
    assert invocation.invoke([]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") <= 1
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError(f"amqp://u:{_SECRET}@h/"),
        ExceptionGroup("many", [BrokerUnavailableError("away"), KeyError("x")]),
    ],
)
def test_a_fault_of_the_program_shows_its_trace_without_secrets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    """What nobody foresaw is to be reported, so it says where it happened."""
    monkeypatch.setattr(invocation, "app", _raising(error))
    assert invocation.invoke([]) == ExitCode.FAULT
    said = capsys.readouterr()
    assert "Traceback" in said.err
    assert _SECRET not in said.err


def test_a_sentence_cannot_steer_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error that quotes what came from elsewhere is made inert."""
    monkeypatch.setattr(invocation, "app", _raising(BrokerUnavailableError("\x1b]0;owned\x07")))
    invocation.invoke([])
    assert "\x1b" not in capsys.readouterr().err


def test_every_known_error_exists() -> None:
    """The table of faults names classes that are there, so that renaming one is noticed."""
    for name in KNOWN:
        module, _, kind = name.rpartition(".")
        assert issubclass(getattr(importlib.import_module(module), kind), Exception)


def test_the_nearest_ancestor_decides() -> None:
    """A subclass with a line of its own is not judged by its parent's."""
    unroutable = fault_of(UnroutableError("x"))
    assert unroutable is not None
    assert unroutable.code is ExitCode.WRONG
    assert fault_of(ValueError("x")) is None


def test_wrong_usage_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    """A command that is not there is said so, with the way to help."""
    assert invocation.invoke(["no-such-command"]) == ExitCode.UNUSABLE
    assert "No such command" in capsys.readouterr().err


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_has_help_with_an_example(
    capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """Help teaches: what it does, and a line to copy; a group lists its commands."""
    assert invocation.invoke([command, "--help"]) == ExitCode.OK
    said = capsys.readouterr().out
    assert "Example:" in said or "Commands" in said
    assert COMMANDS[command].split(":")[0].split()[0] in said


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_the_version_is_shown_fast() -> None:
    """The command line loads only what a command needs: under 0.4 s of a core, at its best."""
    costs = []
    for _ in range(3):
        before = _cpu_of_children()
        said = subprocess.check_output([sys.executable, "-m", "worker.cli", "--version"], text=True)
        costs.append(_cpu_of_children() - before)
        assert said.startswith("meerkat-worker ")
    assert min(costs) < 0.4


def test_showing_the_version_loads_no_service() -> None:
    """Neither broker nor database nor web server is imported before a command needs it."""
    heavy = ("sqlalchemy", "aio_pika", "aiormq", "starlette", "structlog", "minio", "alembic")
    program = (
        "import sys; from worker.cli.invocation import invoke; invoke(['--version']);"
        f"sys.exit(','.join(name for name in {heavy!r} if name in sys.modules))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    assert ended.stderr.strip() == ""
