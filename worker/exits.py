"""Exits: what the exit code of a command says."""

from __future__ import annotations

import enum


class ExitCode(enum.IntEnum):
    """Every code that a command ends with; ``meaning`` is what the documentation says."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> ExitCode:  # noqa: PYI034  # an enum is its own type
        """Attach the meaning to the number."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    OK = 0, "Done; nothing is wrong."
    WRONG = 1, "Done, and something was found wrong, refused or not accepted: it is named."
    UNUSABLE = 2, "Wrong usage, configuration or input, or a service cannot be had."
    NOT_FOUND = 3, "What was asked for does not exist."
    NO_ANSWER = 4, "No answer came in time; what was asked may still happen."
    FAULT = 70, "A fault of the program itself; the error says where."
    INTERRUPTED = 130, "Interrupted with Ctrl-C."
