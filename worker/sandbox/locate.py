"""Where the programs of the services are on this machine."""

import os
import shutil
import sys
from pathlib import Path

RABBITMQ_HOME = "MEERKAT_RABBITMQ_HOME"


def rabbitmq_server() -> Path | None:
    """Find the start script of RabbitMQ, never Debian's wrapper that insists on its own user."""
    home = os.environ.get(RABBITMQ_HOME)
    if home:
        return _first([Path(home) / "sbin/rabbitmq-server"])
    packaged = sorted(Path("/usr/lib/rabbitmq/lib").glob("*/sbin/rabbitmq-server"), reverse=True)
    on_path = shutil.which("rabbitmq-server")
    return _first(
        [
            Path("/usr/lib/rabbitmq/bin/rabbitmq-server"),
            *packaged,
            *([Path(on_path)] if on_path else []),
        ]
    )


def epmd() -> Path | None:
    """Find Erlang's port mapper, which ships beside `erl`."""
    on_path = shutil.which("epmd")
    if on_path:
        return Path(on_path)
    erl = shutil.which("erl")
    if erl is None:
        return None
    root = Path(erl).resolve().parent.parent
    return _first([root / "bin/epmd", *sorted(root.glob("erts-*/bin/epmd"), reverse=True)])


def postgresql_programs() -> Path | None:
    """Find the directory that holds `initdb` and `postgres`, the newest version first."""
    packaged = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    on_path = shutil.which("initdb")
    beside = [Path(on_path).resolve().parent] if on_path else []
    for directory in [*packaged, *beside]:
        if (directory / "initdb").exists() and (directory / "postgres").exists():
            return directory
    return None


def weed() -> Path | None:
    """Find SeaweedFS, which the development dependencies bring along."""
    on_path = shutil.which("weed")
    beside_python = Path(sys.executable).parent / "weed"
    return _first([beside_python, *([Path(on_path)] if on_path else [])])


def chromium() -> Path | None:
    """Find a browser that can run without a screen."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        found = shutil.which(name)
        if found:
            return Path(found)
    return None


def npm() -> Path | None:
    """Find Node's package manager; Debian's package brings Node along."""
    found = shutil.which("npm")
    return Path(found) if found else None


def _first(candidates: list[Path]) -> Path | None:
    return next((path for path in candidates if os.access(path, os.X_OK)), None)


def _version(directory: Path) -> int:
    name = directory.parent.name
    return int(name) if name.isdigit() else 0
