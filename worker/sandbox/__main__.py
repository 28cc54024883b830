"""`python -m worker.sandbox ensure rabbitmq [postgresql ...]`: install what is missing."""

import os
import sys
from typing import assert_never

from worker.sandbox import postgresql, rabbitmq
from worker.sandbox.containers import engine_answers
from worker.sandbox.install import Software, ensure, say
from worker.sandbox.unavailable import ServiceUnavailable

EXIT_OK = 0
EXIT_UNAVAILABLE = 2
_USAGE = "usage: python -m worker.sandbox ensure " + " ".join(f"[{each}]" for each in Software)


def main(arguments: list[str]) -> int:
    """Make sure that each named service can be had; return the exit code."""
    known = set(Software)
    if len(arguments) < 2 or arguments[0] != "ensure" or not known.issuperset(arguments[1:]):  # noqa: PLR2004
        say(_USAGE)
        return EXIT_UNAVAILABLE
    try:
        for name in arguments[1:]:
            say(f"{name}: {_source(Software(name))}")
    except ServiceUnavailable as unavailable:
        say(str(unavailable))
        return EXIT_UNAVAILABLE
    return EXIT_OK


def _source(software: Software) -> str:
    address = _address(software)
    if address is not None and os.environ.get(address):
        return f"at the address in {address}"
    if address is not None and engine_answers():
        return "from Docker"
    return f"from {ensure(software)}"


def _address(software: Software) -> str | None:
    match software:
        case Software.RABBITMQ:
            return rabbitmq.ADDRESS
        case Software.POSTGRESQL:
            return postgresql.ADDRESS
        case Software.CHROMIUM | Software.NODE:
            return None
        case _:
            assert_never(software)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
