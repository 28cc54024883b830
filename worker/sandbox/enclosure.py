"""The walls of one service: its directory, its processes, and their certain end."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from worker.sandbox import watchdog
from worker.sandbox.account import Account
from worker.sandbox.unavailable import ServiceUnavailable

_CLOSE_SECONDS = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to run: the command, its whole environment, and the signal that ends it quickly."""

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    log: str = "service.log"
    last_signal: signal.Signals = signal.SIGKILL


class Enclosure:
    """A temporary directory and the processes started in it, gone when it closes.

    Gone also when this process dies without closing it: a watchdog holds the other end of
    a pipe (see watchdog.py). Prefer `with Enclosure("name") as enclosure`.
    """

    def __init__(self, label: str, account: Account | None = None) -> None:
        self.account = account
        self._processes: list[subprocess.Popen[bytes]] = []
        self._watchdog = _start_watchdog()
        self.directory = Path(tempfile.mkdtemp(prefix=f"meerkat-{label}-"))
        self.sweep(self.directory)
        self.own(self.directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def own(self, path: Path) -> Path:
        """Give a path to the account of the service."""
        if self.account is not None:
            shutil.chown(path, self.account.uid, self.account.gid)
        return path

    def folder(self, name: str) -> Path:
        """Make a folder in the directory, owned by the service."""
        path = self.directory / name
        path.mkdir()
        return self.own(path)

    def write(self, name: str, text: str) -> Path:
        """Write a file in the directory, owned by the service and closed to others."""
        path = self.directory / name
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
        return self.own(path)

    def sweep(self, path: Path) -> None:
        """Have a path removed at the end, whether or not it exists by then."""
        self._tell(f"path {path}")

    def spawn(self, program: Program) -> subprocess.Popen[bytes]:
        """Start a program in a session of its own, out of reach of the terminal's Ctrl-C."""
        account = self.account
        with (self.directory / program.log).open("ab") as log:
            try:
                process = subprocess.Popen(
                    program.command,
                    cwd=self.directory,
                    env=dict(program.environment),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    user=None if account is None else account.uid,
                    group=None if account is None else account.gid,
                    extra_groups=None if account is None else (),
                )
            except OSError as error:
                raise ServiceUnavailable(f"cannot start {program.command[0]}: {error}") from error
        self._tell(f"process {process.pid} {int(program.last_signal)}")
        self._processes.append(process)
        return process

    def forget(self, process: subprocess.Popen[bytes]) -> None:
        """Note that a process has ended and was waited for: its number may be given away."""
        if process in self._processes:
            self._processes.remove(process)
            self._tell(f"forget {process.pid}")

    def close(self) -> None:
        """End everything and remove the directory. Safe to call twice."""
        _pipe(self._watchdog).close()
        for process in self._processes:
            process.wait(_CLOSE_SECONDS)
        self._processes.clear()
        self._watchdog.wait(_CLOSE_SECONDS)

    def _tell(self, line: str) -> None:
        pipe = _pipe(self._watchdog)
        pipe.write(os.fsencode(line + "\n"))
        pipe.flush()


def clean_environment() -> dict[str, str]:
    """Return an environment for a service: the way to programs and the language, no more."""
    kept = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH")
    return {name: os.environ[name] for name in kept if name in os.environ}


def _start_watchdog() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", watchdog.__file__],
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _pipe(process: subprocess.Popen[bytes]) -> IO[bytes]:
    assert process.stdin is not None  # noqa: S101 -- it was opened with PIPE
    return process.stdin
