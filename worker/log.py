"""The log: structured lines on stderr, without secrets and without payloads."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sized
from typing import Any, Final, TextIO, assert_never

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from worker.masking import MASK, is_secret, masked
from worker.settings import LogFormat, LogLevel
from worker.terminal import line

PAYLOAD_FIELDS: Final = frozenset(
    {"blocks", "body", "data", "instructions", "payload", "session_snapshot", "snapshot", "text"}
)

_CHATTY: Final = (
    "aio_pika",
    "aiormq",
    "aiosqlite",
    "alembic.runtime.plugins",
    "asyncio",
    "sqlalchemy",
    "urllib3",
    "uvicorn",
)
"""Libraries that speak of what we log ourselves; only their warnings are of use."""

_ECHO: Final = "aiormq.connection"
"""It speaks of every try to connect and of every loss, at length; so do we, in a line."""


def configure(level: LogLevel, form: LogFormat, stream: TextIO | None = None) -> None:
    """Send our log and the libraries' to one stream (default: stderr), in one format.

    Call it before anything is logged: loggers are cached at their first use, for speed.
    """
    out = sys.stderr if stream is None else stream
    number = logging.getLevelNamesMapping()[level.upper()]
    gathering: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    rendering = _rendering(form, colors=out.isatty())
    structlog.configure(
        processors=[*gathering, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=True,
    )
    _adopt_libraries(number, out, gathering, rendering)


def quiet() -> None:
    """Log nothing but our own errors: for commands, which say what is wrong once, at their end."""
    configure(LogLevel.ERROR, LogFormat.CONSOLE)
    logging.getLogger().handlers[:] = [logging.NullHandler()]


def discreet(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Take secrets and payloads out of an event, at any depth (a structlog processor).

    Fields that hold payloads by their name, and all bytes, are replaced by their shape.
    """
    return {name: _discreet(name, value) for name, value in event.items()}


def _discreet(name: str, value: object) -> object:
    if is_secret(name):
        return MASK
    if isinstance(value, bytes) or (name in PAYLOAD_FIELDS and isinstance(value, Sized)):
        return f"<{type(value).__name__} of {len(value)}>"
    match value:
        case str():
            return masked(value)
        case Mapping():
            return {key: _discreet(str(key), inner) for key, inner in value.items()}
        case list() | tuple():
            return [_discreet("", inner) for inner in value]
        case _:
            return value


def _inert(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Keep what came from elsewhere from steering the terminal; tracebacks keep their lines."""
    return {
        name: value if name == "exception" else line(str(value)) for name, value in event.items()
    }


def _rendering(form: LogFormat, *, colors: bool) -> list[Processor]:
    match form:
        case LogFormat.CONSOLE:
            traces = structlog.dev.plain_traceback
            console = structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=traces)
            return [structlog.processors.format_exc_info, discreet, _inert, console]
        case LogFormat.JSON:
            render = structlog.processors.JSONRenderer(serializer=_json)
            return [structlog.processors.format_exc_info, discreet, render]
        case _:
            assert_never(form)


def _json(event: EventDict, **_options: Any) -> str:  # noqa: ANN401  # structlog's own signature
    return msgspec.json.encode(event, enc_hook=repr).decode()


def _adopt_libraries(
    level: int, out: TextIO, gathering: list[Processor], rendering: list[Processor]
) -> None:
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *gathering],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    logging.getLogger(_ECHO).setLevel(logging.CRITICAL)
