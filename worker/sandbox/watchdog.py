"""The program that outlives a sandbox by a moment and takes it away.

Run as `python -I -S watchdog.py` with a pipe as its input, whose other end the sandbox holds.
Lines: `process PID SIGNAL`, `forget PID`, `path PATH`. At the end of the input, which comes
when the sandbox closes the pipe or dies of anything at all, it ends the processes (their
signal first, SIGKILL after a grace) and removes the paths. The orderly end and the crash are
one path, so every test run tests it. Standard library only: it runs without the project.
"""

import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

_GRACE_SECONDS = 3.0
_POLL_SECONDS = 0.01


def main() -> None:
    """Take notes until the input ends, then clean up."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    processes: dict[int, int] = {}
    paths: list[Path] = []
    for line in sys.stdin:
        _note(line.rstrip("\n"), processes, paths)
    _end(processes)
    for path in paths:
        _remove(path)


def _note(line: str, processes: dict[int, int], paths: list[Path]) -> None:
    verb, _, rest = line.partition(" ")
    match verb:
        case "process":
            pid, number = rest.split(" ")
            processes[int(pid)] = int(number)
        case "forget":
            processes.pop(int(rest), None)
        case "path":
            paths.append(Path(rest))
        case _:
            raise ValueError(f"watchdog: unknown line: {line!r}")


def _end(processes: dict[int, int]) -> None:
    for pid, number in processes.items():
        _signal(pid, number)
        _signal(pid, signal.SIGCONT)  # a stopped process does not see its end coming
    _wait_gone(processes)
    for pid in processes:
        with contextlib.suppress(OSError):
            os.killpg(pid, signal.SIGKILL)
    _wait_gone(processes)


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, number)


def _wait_gone(pids: Iterable[int]) -> None:
    end = time.monotonic() + _GRACE_SECONDS
    while any(map(_exists, pids)) and time.monotonic() < end:
        time.sleep(_POLL_SECONDS)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def _remove(path: Path) -> None:
    """Remove a tree into which a dying process may still write for a moment."""
    end = time.monotonic() + _GRACE_SECONDS
    while os.path.lexists(path) and time.monotonic() < end:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
