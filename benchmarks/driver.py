"""The driver alone: how fast it admits, whatever waits, and how fast it leads an input through."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from datetime import UTC, datetime
from statistics import median
from typing import Final
from uuid import UUID

from schemas.envelope import InputMessage, Message, RunEventMessage
from schemas.ids import RuntimeId
from schemas.inputs import Header, OperatorSource, Prompt
from schemas.lifecycle import RuntimeState
from schemas.records import RuntimeRecord
from schemas.runs import BoundaryApplied, Receipt, RunCompleted, RunStarted
from worker.clock import new_id
from worker.driver.arrival import Arrival
from worker.driver.driver import Driver
from worker.driver.options import DriverOptions

WAITING: Final = (0, 1_000, 100_000)
ACCEPTS: Final = 5_000
LIVES: Final = 2_000
RUNTIME: Final = RuntimeId("bench")
NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
ARRIVAL: Final = Arrival(now=NOW)


def rates(times: int) -> dict[str, float]:
    """Measure everything so many times in turn; answers medians, a second."""
    works: dict[str, Callable[[], float]] = {
        f"accepts, {waiting} waiting": _accepting(waiting) for waiting in WAITING
    }
    works["full lives"] = _living
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(times):
        for name, work in works.items():
            found[name].append(work())
    return {name: median(values) for name, values in found.items()}


def _accepting(waiting: int) -> Callable[[], float]:
    def accept() -> float:
        driver = _driver()
        for message in _prompts(waiting):
            driver.apply(message, ARRIVAL)
        driver.take()
        return _rate(ACCEPTS, lambda messages: _apply_all(driver, messages), _prompts(ACCEPTS))

    return accept


def _living() -> float:
    driver = _driver()
    return _rate(LIVES, lambda messages: _live_all(driver, messages), _prompts(LIVES))


def _rate(number: int, work: Callable[[list[Message]], None], messages: list[Message]) -> float:
    gc.collect()
    began = time.perf_counter()
    work(messages)
    return number / (time.perf_counter() - began)


def _apply_all(driver: Driver, messages: list[Message]) -> None:
    for place, message in enumerate(messages, 1):
        driver.apply(message, ARRIVAL)
        if place % 100 == 0:
            driver.take()


def _live_all(driver: Driver, messages: list[Message]) -> None:
    for message in messages:
        assert isinstance(message, InputMessage)
        input_id, run_id = message.input.header.id, new_id()
        driver.apply(message, ARRIVAL)
        run = driver.start_run(run_id, now=NOW)
        receipt = Receipt(run_id, run.boundary, (input_id,), 1, 0)  # type: ignore[union-attr]
        for event in (
            RunStarted(run_id),
            BoundaryApplied(run_id, receipt),
            RunCompleted(run_id, (input_id,)),
        ):
            driver.apply(RunEventMessage(RUNTIME, new_id(), event), ARRIVAL)
        driver.take()
    assert not driver.active_inputs()


def _driver() -> Driver:
    record = RuntimeRecord(RUNTIME, RuntimeState.IDLE, 1, NOW, NOW)
    return Driver.fresh(record, DriverOptions())


def _prompts(number: int) -> list[Message]:
    return [InputMessage(RUNTIME, _prompt(new_id())) for _ in range(number)]


def _prompt(input_id: UUID) -> Prompt:
    return Prompt(Header(input_id, OperatorSource(), NOW), "x" * 200)
