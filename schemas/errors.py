"""What can be wrong with bytes that claim to be a message."""

from __future__ import annotations

import re
from typing import Final

import msgspec

_AT_PATH: Final = re.compile(
    r"^(?P<problem>.*?)(?: - at `(?:key in )?(?P<path>[^`]+)`)?$", re.DOTALL
)


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
        match = _AT_PATH.match(str(error))
        problem = match["problem"] if match else str(error)
        path = (match["path"] if match else None) or "$"
        return cls(path, _reworded(problem, validation=isinstance(error, msgspec.ValidationError)))


def _reworded(problem: str, *, validation: bool) -> str:
    if not validation:
        return f"expected JSON: {problem[:1].lower()}{problem[1:]}"
    if problem == "Invalid UUID":
        return "expected uuid"
    if problem.startswith("Invalid value "):
        return "expected a known value"
    return (problem[:1].lower() + problem[1:]).replace("`", "")
