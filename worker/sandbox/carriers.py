"""What carries a service: a process of ours, a container, or somebody else's machine."""

import os
import signal
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from worker.sandbox.enclosure import Enclosure, Program
from worker.sandbox.unavailable import ServiceUnavailable

_STOP_SECONDS = 30.0
_KILL_SECONDS = 10.0
_POLL_SECONDS = 0.01
_LOG_TAIL_LINES = 15


class Carrier(Protocol):
    """The switches of one service. All of them return when the thing is done."""

    @property
    def pid(self) -> int | None:
        """The process of the service on this machine, where it has one."""

    def start(self) -> None:
        """Start it, on the data that it left, and do not wait until it answers."""

    def kill(self) -> None:
        """SIGKILL: no goodbye."""

    def stop(self) -> None:
        """SIGTERM, and wait until it is gone."""

    def pause(self) -> None:
        """SIGSTOP: its sockets stay open and nobody answers."""

    def resume(self) -> None:
        """SIGCONT."""

    def trouble(self) -> str | None:
        """Why it is not running, with the end of its log; None while it runs."""


class ProcessCarrier:
    """A service that is a process in an enclosure."""

    def __init__(self, enclosure: Enclosure, program: Program) -> None:
        self._enclosure = enclosure
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process, if it was started."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the program unless it runs."""
        if self.trouble() is not None:
            self._process = self._enclosure.spawn(self._program)

    def kill(self) -> None:
        """SIGKILL, and wait until its children have noticed."""
        self._end(signal.SIGKILL, _KILL_SECONDS)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL if that does not end it."""
        self._end(signal.SIGTERM, _STOP_SECONDS)

    def pause(self) -> None:
        """Stop the process and its children (a PostgreSQL backend answers by itself)."""
        for pid in self._signal_family(signal.SIGSTOP):
            _wait_stopped(pid)

    def resume(self) -> None:
        """Let the process and its children go on."""
        self._signal_family(signal.SIGCONT)

    def trouble(self) -> str | None:
        """Say how the process ended, with the tail of its log."""
        if self._process is None:
            return "it was not started"
        code = self._process.poll()
        if code is None:
            return None
        return f"it ended with code {code}; its log ends:\n{self._log_tail()}"

    def _end(self, number: signal.Signals, seconds: float) -> None:
        process = self._process
        if process is None:
            return
        family = children(process.pid)
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_KILL_SECONDS)
        self._enclosure.forget(process)
        _signal_all(family, signal.SIGCONT)
        _wait_gone(family)

    def _signal_family(self, number: signal.Signals) -> list[int]:
        if self._process is None or self._process.poll() is not None:
            raise ServiceUnavailable(f"cannot pause or resume: {self.trouble()}")
        family = [self._process.pid, *children(self._process.pid)]
        _signal_all(family, number)
        return family

    def _log_tail(self) -> str:
        path = self._enclosure.directory / self._program.log
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_LOG_TAIL_LINES:])


class Elsewhere:
    """A service at an address that was given: it can be used, not switched."""

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def pid(self) -> int | None:
        """None: it is not ours."""
        return None

    def start(self) -> None:
        """Do nothing: it runs, or `wait_ready` will say that it does not."""

    def kill(self) -> None:
        """Refuse."""
        raise self._refusal()

    def stop(self) -> None:
        """Refuse."""
        raise self._refusal()

    def pause(self) -> None:
        """Refuse."""
        raise self._refusal()

    def resume(self) -> None:
        """Refuse."""
        raise self._refusal()

    def trouble(self) -> str | None:
        """None: nothing is known of it but its address."""
        return None

    def _refusal(self) -> ServiceUnavailable:
        return ServiceUnavailable(f"this {self._name} was given by an address: it is not ours")


def children(pid: int) -> list[int]:
    """Return the direct children of a process; empty where /proc is not to be had."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        return [int(word) for word in path.read_text(encoding="ascii").split()]
    except OSError:
        return []


def _signal_all(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _wait_gone(pids: Iterable[int]) -> None:
    end = time.monotonic() + _KILL_SECONDS
    for pid in pids:
        # An orphan that nobody has waited for yet (Z) is gone for all that matters here.
        while _state(pid) not in {"", "Z"} and time.monotonic() < end:
            time.sleep(_POLL_SECONDS)


def _wait_stopped(pid: int) -> None:
    """Wait until a SIGSTOP has arrived: until then the process may still answer."""
    end = time.monotonic() + _KILL_SECONDS
    while _state(pid) not in {"", "T", "Z"} and time.monotonic() < end:
        time.sleep(_POLL_SECONDS)


def _state(pid: int) -> str:
    """Return the letter of a process's state (proc(5)); empty if it is not known."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return stat.rpartition(") ")[2][:1]
