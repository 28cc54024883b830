"""The demo: three runtimes, some forty messages, a worker killed half way, and what came of it."""

from __future__ import annotations

import asyncio

from worker.demo.play import play
from worker.demo.screen import Screen
from worker.exits import ExitCode
from worker.log import configure
from worker.sandbox import start_rabbitmq
from worker.settings import LogFormat, LogLevel


def main() -> ExitCode:
    """Give the demo a broker and play it; answers the exit code."""
    configure(LogLevel.ERROR, LogFormat.CONSOLE)
    screen = Screen()
    screen.say("Looking for a RabbitMQ broker …")
    with start_rabbitmq() as broker:
        screen.say("The broker answers.")
        kept = asyncio.run(play(broker.url, screen))
    return ExitCode.OK if kept else ExitCode.WRONG
