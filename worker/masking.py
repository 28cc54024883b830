"""Masking: secrets in text are taken out before anybody sees it."""

from __future__ import annotations

import re
from typing import Final

MASK: Final = "***"

_CREDENTIALS: Final = re.compile(
    r"(?P<scheme>\b[a-z][\w+.-]*://)(?P<user>[^/@\s:]*):[^/\s]*@", re.IGNORECASE
)


def masked(text: str) -> str:
    """Take the password out of every URL in a text: ``amqp://guest:***@host/``.

    A password may itself hold an ``@``; everything up to the last one before the path goes.
    """
    if "://" not in text:
        return text
    return _CREDENTIALS.sub(rf"\g<scheme>\g<user>:{MASK}@", text)
