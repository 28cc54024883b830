"""Selections: which dead letters a page is about, as its address says it."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final, TypeVar
from urllib.parse import urlencode

import msgspec

from schemas.dead_letters import DeadLetterReason, DeadLetterStatus
from schemas.ids import RuntimeId, runtime_id
from store.dead_letters import LetterFilter
from worker.moments import moment

ANY: Final = "any"
_DIGITS: Final = 9
_FINGERPRINT: Final = re.compile(r"[0-9a-f]{16}")

E = TypeVar("E", bound=enum.StrEnum)


class FieldError(ValueError):
    """A field of a form or an address that cannot be read; says which and what was expected."""

    def __init__(self, field: str, expected: str) -> None:
        super().__init__(f"{field}: {expected}")


class Selection(msgspec.Struct, frozen=True):
    """Which letters are meant; None means any."""

    status: DeadLetterStatus | None = DeadLetterStatus.OPEN
    reason: DeadLetterReason | None = None
    runtime: RuntimeId | None = None
    group: str | None = None
    since: str | None = None

    @classmethod
    def of(cls, told: Mapping[str, str]) -> Selection:
        """Read the fields of an address or a form; empty ones count as absent.

        Raises:
            FieldError: Names the field.
        """
        given = {name: text.strip() for name, text in told.items() if text.strip()}
        status = given.get("status", DeadLetterStatus.OPEN)
        return cls(
            status=None if status == ANY else choice(given, "status", DeadLetterStatus, status),
            reason=choice(given, "reason", DeadLetterReason),
            runtime=None if "runtime" not in given else runtime_of(given["runtime"]),
            group=None if "group" not in given else _group(given["group"]),
            since=given.get("since"),
        )

    def wanted(self, now: datetime) -> LetterFilter:
        """Say it as the store understands it.

        Raises:
            FieldError: ``since`` is no moment.
        """
        try:
            since = None if self.since is None else moment(self.since, now)
        except ValueError as error:
            raise FieldError("since", str(error)) from error
        return LetterFilter(self.status, self.runtime, self.reason, self.group, since)

    def fields(self) -> dict[str, str]:
        """Say it as fields of an address or a form; what goes without saying is left out."""
        told = {
            "reason": self.reason,
            "runtime": self.runtime,
            "group": self.group,
            "since": self.since,
        }
        status = {} if self.status is DeadLetterStatus.OPEN else {"status": self.status or ANY}
        return {**status, **{name: str(text) for name, text in told.items() if text is not None}}

    def at(self, path: str, **more: str) -> str:
        """Make an address of a page about this selection."""
        query = urlencode({**self.fields(), **more})
        return f"{path}?{query}" if query else path


def choice(
    given: Mapping[str, str], field: str, kinds: type[E], default: str | None = None
) -> E | None:
    """Read one of a closed list of values; None if the field is absent or empty.

    Raises:
        FieldError: It is not on the list.
    """
    text = given.get(field, "").strip() or default
    if text is None:
        return None
    try:
        return kinds(text)
    except ValueError as error:
        raise FieldError(field, f"expected one of {', '.join(kinds)}") from error


def number(given: Mapping[str, str], field: str, *, least: int) -> int | None:
    """Read a whole number; None if the field is absent or empty.

    Raises:
        FieldError: It is none, or too small.
    """
    text = given.get(field, "").strip()
    if not text:
        return None
    # int() takes as long as it likes over a very long one, and then refuses.
    if not text.isascii() or not text.isdigit() or len(text) > _DIGITS or int(text) < least:
        raise FieldError(field, f"expected a whole number, at least {least}")
    return int(text)


def runtime_of(text: str) -> RuntimeId:
    """Read a runtime's id.

    Raises:
        FieldError: It cannot be one.
    """
    try:
        return runtime_id(text)
    except ValueError as error:
        raise FieldError("runtime", str(error)) from error


def _group(text: str) -> str:
    if _FINGERPRINT.fullmatch(text) is None:
        raise FieldError("group", "expected 16 hexadecimal digits")
    return text
