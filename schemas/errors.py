"""What can be wrong with bytes that claim to be a message."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from schemas.ids import KEY_EXPECTED, KEY_PATTERN, RUNTIME_ID_EXPECTED, RUNTIME_ID_PATTERN

_EXPECTED: Final = {
    "Invalid UUID": "expected uuid",
    "Invalid RFC3339 encoded datetime": "expected an RFC 3339 date and time",
    "Integer value out of range": "expected a number in range",
    "Number out of range": "expected a number in range",
    f"Expected `str` matching regex {KEY_PATTERN!r}": KEY_EXPECTED,
    f"Expected `str` matching regex {RUNTIME_ID_PATTERN!r}": RUNTIME_ID_EXPECTED,
}
_MISSING: Final = re.compile(r"Object missing required field `(?P<field>[^`]+)`")


class MalformedError(ValueError):
    """Bytes or properties that do not have the shape of the contract.

    Attributes:
        path: Where the fault is, as a JSON path (``$.header.id``) or a property
            (``properties.message_id``).
        problem: What was expected there. Never quotes the value.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem

    @classmethod
    def from_decoder(cls, error: Exception) -> MalformedError:
        """Translate an error of the JSON decoder, keeping its path."""
        if isinstance(error, UnicodeDecodeError):
            return cls("$", f"expected UTF-8, byte {error.start} is not")
        if not isinstance(error, msgspec.ValidationError):
            problem = str(error).removeprefix("JSON is malformed: ")
            return cls("$", f"expected JSON: {_lowered(problem)}")
        problem, _, path = str(error).rpartition(" - at `")
        if not problem:
            problem, path = str(error), "$"
        return cls(*_reworded(problem, path.rstrip("`")))


def _reworded(problem: str, path: str) -> tuple[str, str]:
    """Say what was expected; the decoder's own words quote unknown values."""
    missing = _MISSING.match(problem)
    if missing:
        return f"{path}.{missing['field']}", "expected a value, got nothing"
    if problem.startswith(("Invalid value ", "Invalid enum value ")):
        return path, "expected a known value"
    return path, _EXPECTED.get(problem) or _lowered(problem).replace("`", "")


def _lowered(problem: str) -> str:
    return problem[:1].lower() + problem[1:]
