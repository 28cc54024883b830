"""The command line: one file a noun, loaded when its command is asked for."""

from __future__ import annotations

import sys

from worker.cli.invocation import invoke


def main() -> None:
    """Run ``meerkat-worker`` on the arguments of this process and end it with its exit code."""
    sys.exit(invoke(sys.argv[1:]))
