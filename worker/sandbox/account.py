"""The user as whom a service runs when it refuses to run as root."""

import os
import pwd
from dataclasses import dataclass

from worker.sandbox.unavailable import ServiceUnavailable

_CANDIDATES = ("nobody", "postgres", "daemon")


@dataclass(frozen=True, slots=True)
class Account:
    """A user by name, with the numbers that the system wants."""

    name: str
    uid: int
    gid: int


def is_root() -> bool:
    """Say whether this process may become somebody else."""
    return os.geteuid() == 0


def unprivileged() -> Account | None:
    """Return an account that is not root to run a service as; None: this one will do."""
    if not is_root():
        return None
    for name in _CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise ServiceUnavailable(
        "no account to run a service as: it refuses root, and none of "
        f"{', '.join(_CANDIDATES)} exists here; run this as an ordinary user"
    )
