"""The invocation: runs one command and turns however it ends into an exit code."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

from worker.cli.faults import Failure, fault_of
from worker.cli.root import PROGRAM, app
from worker.exits import ExitCode
from worker.masking import masked
from worker.terminal import inert


def invoke(arguments: Sequence[str]) -> int:
    """Run the command line and answer its exit code."""
    try:
        app(list(arguments), prog_name=PROGRAM)
    except SystemExit as end:
        return _code(end.code)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except Exception as error:  # noqa: BLE001  # the top of the process: classified, or a fault
        return _failed(error)
    return ExitCode.OK


def _failed(error: Exception) -> int:
    failure = fault_of(error)
    if failure is None:
        sys.stderr.write(masked(traceback.format_exc()))
        failure = Failure(ExitCode.FAULT, f"a fault of {PROGRAM} itself: {error!r}")
    sys.stderr.write(f"{PROGRAM}: {inert(masked(failure.sentence))}\n")
    return failure.code


def _code(code: object) -> int:
    return code if isinstance(code, int) else ExitCode.OK
