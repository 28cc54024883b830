"""Missing programs, installed where that is allowed, and said aloud first."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import assert_never

from worker.sandbox import account, locate
from worker.sandbox.unavailable import ServiceUnavailable

_APT_SECONDS = 900.0

# Without a policy Debian starts a service as soon as its package is unpacked. The package
# lists may be missing (a fresh container) or old (a 404): then they are fetched, once.
_SCRIPT = """
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\\nexit 101\\n' > "$policy" && chmod 755 "$policy"
fi
install() { apt-get -o DPkg::Lock::Timeout=300 install -qy --no-install-recommends "$@"; }
install "$@" || { apt-get update -q && install "$@"; }
"""


class Software(StrEnum):
    """What a sandbox can install."""

    RABBITMQ = "rabbitmq"
    POSTGRESQL = "postgresql"
    CHROMIUM = "chromium"
    NODE = "node"


@dataclass(frozen=True, slots=True)
class _Recipe:
    title: str
    package: str
    find: Callable[[], Path | None]
    otherwise: str


def _recipe(software: Software) -> _Recipe:
    match software:
        case Software.RABBITMQ:
            return _Recipe(
                "RabbitMQ",
                "rabbitmq-server",
                locate.rabbitmq_server,
                f"set MEERKAT_AMQP_URL to a broker, start Docker, or set {locate.RABBITMQ_HOME} "
                "to an unpacked generic-unix release",
            )
        case Software.POSTGRESQL:
            return _Recipe(
                "PostgreSQL",
                "postgresql",
                locate.postgresql_programs,
                "set MEERKAT_TEST_POSTGRES_URL to a server, or start Docker",
            )
        case Software.CHROMIUM:
            return _Recipe("Chromium", "chromium", locate.chromium, "put a chromium on the PATH")
        case Software.NODE:
            return _Recipe("Node.js", "npm", locate.npm, "put node and npm on the PATH")
        case _:
            assert_never(software)


def find(software: Software) -> Path | None:
    """Return where the software is, or None."""
    return _recipe(software).find()


def ensure(software: Software) -> Path:
    """Return where the software is, after installing it if it is missing.

    Raises:
        ServiceUnavailable: it is missing and cannot be installed; the text says what to do.
    """
    recipe = _recipe(software)
    found = recipe.find()
    if found is None:
        _install(recipe)
        found = recipe.find()
    if found is None:
        raise _missing(recipe, f"{recipe.package} was installed, but its programs were not found")
    return found


def say(message: str) -> None:
    """Tell the person at the terminal what is about to be done to their machine."""
    print(f"meerkat-worker: {message}", file=sys.stderr, flush=True)  # noqa: T201


def _install(recipe: _Recipe) -> None:
    privilege = _privilege()
    if shutil.which("apt-get") is None:
        raise _missing(recipe, "it is not installed, and this system has no apt-get")
    if privilege is None:
        raise _missing(
            recipe, "it is not installed, and installing needs root or passwordless sudo"
        )
    say(f"{recipe.title} is not installed here; running: apt-get install -y {recipe.package}")
    command = [*privilege, "env", "DEBIAN_FRONTEND=noninteractive", "sh", "-c", _SCRIPT, "install"]
    try:
        # Standard output belongs to the command that needs the service.
        subprocess.run(
            [*command, recipe.package], stdout=sys.stderr, check=True, timeout=_APT_SECONDS
        )
    except (subprocess.SubprocessError, OSError) as error:
        raise _missing(recipe, f"apt-get install {recipe.package} failed") from error


def _privilege() -> list[str] | None:
    if account.is_root():
        return []
    sudo = shutil.which("sudo")
    if sudo is None:
        return None
    asked = subprocess.run([sudo, "-n", "true"], capture_output=True, check=False)
    return [sudo, "-n"] if asked.returncode == 0 else None


def _missing(recipe: _Recipe, why: str) -> ServiceUnavailable:
    return ServiceUnavailable(
        f"{recipe.title} cannot be had: {why}. To get one: install it (Debian, Ubuntu: "
        f"apt-get install {recipe.package}), or {recipe.otherwise}."
    )
