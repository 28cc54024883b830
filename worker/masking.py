"""Masking: secrets in text and in fields are taken out before anybody sees them."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

MASK: Final = "***"

_CREDENTIALS: Final = re.compile(
    r"(?P<scheme>\b[a-z][\w+.-]*://)(?P<user>[^/@\s:]*):[^/\s]*@", re.IGNORECASE
)
_BEARER: Final = re.compile(r"\b(?P<kind>bearer|basic)\s+[\w.~+/=-]{8,}", re.IGNORECASE)
_NAMES: Final = (
    r"(?:password|passwd|secret|token|authorization|cookie|credentials?"
    r"|(?:api|secret|private|access)[_-]?key)"
)
_SECRET_NAME: Final = re.compile(rf"(^|[_.-]){_NAMES}$", re.IGNORECASE)
_PAIR: Final = re.compile(
    rf"""(?P<name>(?<![A-Za-z0-9]){_NAMES}["']?\s*[:=]\s*)"""
    r"""("(?:[^"\\]|\\.)*"?|'[^']*'?|[^\s,;&}\]]+)""",
    re.IGNORECASE,
)


def masked(text: str) -> str:
    """Take passwords out of addresses (``amqp://guest:***@host/``), and bearer tokens.

    A password may itself hold an ``@``; everything up to the last one before the path goes.
    """
    if "://" in text:
        text = _CREDENTIALS.sub(rf"\g<scheme>\g<user>:{MASK}@", text)
    if "earer " in text or "asic " in text:
        text = _BEARER.sub(rf"\g<kind> {MASK}", text)
    return text


def masked_text(text: str) -> str:
    """Mask text that may have been meant as JSON, a form or a header: secrets by their names too.

    A body that is malformed is no less private than one that is not.
    """
    return masked(_PAIR.sub(rf"\g<name>{MASK}", text))


@lru_cache(maxsize=1024)
def is_secret(name: str) -> bool:
    """Tell whether a field holds a secret, by its name: ``password``, ``client_secret``, ..."""
    return _SECRET_NAME.search(name) is not None


def masked_fields(value: Any) -> Any:  # noqa: ANN401  # JSON of any shape
    """Mask JSON at any depth: fields by their names, texts by their patterns."""
    match value:
        case str():
            return masked(value)
        case dict():
            return {
                name: MASK if is_secret(name) else masked_fields(inner)
                for name, inner in value.items()
            }
        case list():
            return [masked_fields(inner) for inner in value]
        case _:
            return value
