"""Wording: values as people read them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final

import msgspec
from markupsafe import Markup, escape

from worker.masking import masked_fields
from worker.terminal import inert

_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86_400
_KIB: Final = 1024
_LETTER: Final = re.compile(r"dead letter ([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")


def shown(value: Any) -> Any:  # noqa: ANN401  # whatever a template puts out
    """Make every value that a template puts out harmless; Jinja escapes it afterwards."""
    match value:
        case Markup():
            return value
        case None:
            return ""
        case Enum():
            return str(value.value)
        case _:
            return inert(str(value))


def linked(sentence: str) -> Markup:
    """Lead from a sentence to the dead letter that it names."""
    link = r'dead letter <a href="/dead-letters/\1">\1</a>'
    return Markup(_LETTER.sub(link, str(escape(inert(sentence)))))  # noqa: S704  # escaped before


def span(seconds: float) -> str:
    """Say how long: ``12 s``, ``5 min``, ``3 h 20 min``, ``2 d 4 h``."""
    whole = max(0, int(seconds))
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min"
    if whole < _DAY:
        return _two(whole // _HOUR, "h", whole % _HOUR // _MINUTE, "min")
    return _two(whole // _DAY, "d", whole % _DAY // _HOUR, "h")


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    first = f"{large:,} {large_unit}"
    return f"{first} {small} {small_unit}" if small else first


def away(moment: datetime, now: datetime) -> str:
    """Say how far a moment is, before or after now."""
    seconds = (moment - now).total_seconds()
    return f"in {span(seconds)}" if seconds > 0 else f"{span(-seconds)} ago"


def stamp(moment: datetime) -> str:
    """Say when, to the second, UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def number(value: int) -> str:
    """Say a number so that its size is seen."""
    return f"{value:,}"


def counted(value: int, noun: str) -> str:
    """Say a number of things."""
    return f"{value:,} {noun}" if value == 1 else f"{value:,} {noun}s"


def size(count: int) -> str:
    """Say a number of bytes."""
    if count < _KIB:
        return counted(count, "byte")
    if count < _KIB * _KIB:
        return f"{count / _KIB:.1f} KiB"
    return f"{count / _KIB / _KIB:.1f} MiB"


def fields(value: Any) -> str:  # noqa: ANN401  # JSON of any shape
    """Show properties, an outcome or a decision over several lines, secrets masked."""
    told = masked_fields(msgspec.to_builtins(value))
    return msgspec.json.format(msgspec.json.encode(told), indent=2).decode()
