"""Loggers of the parts that also live in other people's programs."""

from __future__ import annotations

import logging
from typing import Any

import structlog


class Logger:
    """Speaks through structlog where the process has configured it, else through ``logging``.

    Without configuration structlog prints everything to stdout, which belongs to the program that
    uses our client; the standard library's logging keeps to warnings, on stderr.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._modest: structlog.stdlib.BoundLogger = structlog.wrap_logger(
            logging.getLogger(name),
            processors=[
                structlog.stdlib.filter_by_level,
                structlog.processors.format_exc_info,
                structlog.processors.KeyValueRenderer(key_order=["event"]),
            ],
            wrapper_class=structlog.stdlib.BoundLogger,
        )

    def debug(self, event: str, **facts: Any) -> None:  # noqa: ANN401 - facts are what they are
        """Say what helps to find a fault."""
        self._chosen.debug(event, **facts)

    def info(self, event: str, **facts: Any) -> None:  # noqa: ANN401
        """Say what happens."""
        self._chosen.info(event, **facts)

    def warning(self, event: str, **facts: Any) -> None:  # noqa: ANN401
        """Say what should not happen and is coped with."""
        self._chosen.warning(event, **facts)

    def exception(self, event: str, **facts: Any) -> None:  # noqa: ANN401
        """Say that something unforeseen was raised."""
        self._chosen.exception(event, **facts)

    @property
    def _chosen(self) -> structlog.stdlib.BoundLogger:
        if not structlog.is_configured():
            return self._modest
        chosen: structlog.stdlib.BoundLogger = structlog.get_logger(self._name)
        return chosen
