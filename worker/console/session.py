"""Sessions: whom a browser speaks for, in a cookie that only this console can write.

Nothing is kept here: the cookie says it all, and its seal is made with a key that comes from the
token. Whoever changes the token ends all sessions; a restart with the same one ends none.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from typing import Final

import msgspec

LIFETIME_SECONDS: Final = 12 * 3600
LEAST_TOKEN: Final = 16
"""Characters of a token: fewer could be guessed."""


class TokenError(ValueError):
    """A token that would protect nothing."""


class Session(msgspec.Struct, frozen=True):
    """What a cookie says.

    Attributes:
        nonce: Makes it different from all others.
        until: When it ends, in seconds of the epoch.
        who: The name of the operator, as they say it.
    """

    nonce: str
    until: int
    who: str


_decoder: Final = msgspec.json.Decoder(Session)


def generated_token() -> str:
    """Make a token that nobody guesses."""
    return secrets.token_urlsafe(24)


def begun(now: float, who: str) -> Session:
    """Begin the session of somebody who has shown the token."""
    return Session(secrets.token_urlsafe(12), int(now) + LIFETIME_SECONDS, who)


class Keys:
    """Seals sessions, and the forms that they are shown.

    Raises:
        TokenError: The token is too short.
    """

    __slots__ = ("_key", "_token")

    def __init__(self, token: str) -> None:
        if len(token) < LEAST_TOKEN:
            raise TokenError(
                f"the console's token: expected at least {LEAST_TOKEN} characters, got {len(token)}"
            )
        self._token = token.encode()
        self._key = hashlib.sha256(b"meerkat-worker console\0" + self._token).digest()

    def is_token(self, text: str) -> bool:
        """Tell whether somebody has the token; takes as long for any wrong one."""
        return hmac.compare_digest(text.encode(), self._token)

    def sealed(self, session: Session) -> str:
        """Write a session into a cookie."""
        said = base64.urlsafe_b64encode(msgspec.json.encode(session)).decode().rstrip("=")
        return f"{said}.{self._seal('session', said)}"

    def opened(self, cookie: str | None, now: float) -> Session | None:
        """Read a cookie; None if it is not ours, or over."""
        said, _, seal = (cookie or "").partition(".")
        if not hmac.compare_digest(seal.encode(), self._seal("session", said).encode()):
            return None
        try:
            session = _decoder.decode(base64.urlsafe_b64decode(said + "=" * (-len(said) % 4)))
        except (msgspec.DecodeError, binascii.Error):
            return None
        return session if session.until > now else None

    def form_token(self, session: Session) -> str:
        """Make what every form of a session carries: another site cannot know it."""
        return self._seal("form", session.nonce)

    def is_form_token(self, session: Session, text: str) -> bool:
        """Tell whether a form was shown to this session."""
        return hmac.compare_digest(text.encode(), self.form_token(session).encode())

    def _seal(self, purpose: str, said: str) -> str:
        return hmac.new(self._key, f"{purpose}\0{said}".encode(), hashlib.sha256).hexdigest()
