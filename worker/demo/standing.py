"""A standing stage: a broker, a worker and an agent, until Ctrl-C, for a first look."""

from __future__ import annotations

import asyncio
import shlex
from pathlib import Path
from typing import Final

from worker.broker.topology import DEFAULT_NAMESPACE
from worker.demo.screen import Screen
from worker.demo.stage import Stage
from worker.exits import ExitCode
from worker.log import configure
from worker.sandbox import start_rabbitmq
from worker.settings import LogFormat, LogLevel
from worker.shutdown import stop_on_signals

DIRECTORY: Final = Path("meerkat-sandbox")


def main(agent: str) -> ExitCode:
    """Set the stage with an agent, MODULE:NAME, and keep it; answers the exit code."""
    configure(LogLevel.ERROR, LogFormat.CONSOLE)
    screen = Screen()
    screen.say("Looking for a RabbitMQ broker …")
    with start_rabbitmq() as broker:
        return asyncio.run(_stand(broker.url, agent, screen))


async def _stand(amqp_url: str, agent: str, screen: Screen) -> ExitCode:
    directory = DIRECTORY.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    stage = Stage(directory, amqp_url, DEFAULT_NAMESPACE)
    await stage.migrate()
    (directory / "env").write_text(_exports(stage), encoding="utf-8")
    stop = asyncio.Event()
    with stop_on_signals(stop):
        async with stage.worker("worker") as worker, stage.executor(agent) as executor:
            screen.say(f"A broker, a worker and {agent} are running. In another terminal:")
            screen.detail(f". {DIRECTORY}/env")
            screen.detail('meerkat-worker publish prompt ada "hello" --wait 30')
            screen.detail("meerkat-worker console")
            screen.say(f"Logs and database: {DIRECTORY}/. Ctrl-C ends it.")
            return await _until_first(stop, worker, executor)


async def _until_first(stop: asyncio.Event, *processes: asyncio.subprocess.Process) -> ExitCode:
    """Wait until told to stop; a process that ends by itself is a fault."""
    asked = asyncio.create_task(stop.wait())
    ends = [asyncio.create_task(process.wait()) for process in processes]
    await asyncio.wait([asked, *ends], return_when=asyncio.FIRST_COMPLETED)
    for task in (asked, *ends):
        task.cancel()
    return ExitCode.OK if stop.is_set() else ExitCode.FAULT


def _exports(stage: Stage) -> str:
    """What a shell must be told to reach the stage, and to find the program."""
    lines = [f"export {name}={shlex.quote(value)}" for name, value in stage.environment.items()]
    lines.append(f"export PATH={shlex.quote(str(Path('.venv/bin').absolute()))}:$PATH")
    return "\n".join(lines) + "\n"
