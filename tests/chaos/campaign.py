"""The campaign: load and faults on a stage, then peace, then the checker's verdict."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Final

import asyncpg

from store import migrations
from tests.chaos import audit
from tests.chaos.checker import Finding, check, unaccounted
from tests.chaos.evidence import Evidence, gathered
from tests.chaos.faults import Done, Injector
from tests.chaos.plan import planned
from tests.chaos.publishers import Load
from tests.chaos.record import Entry, Record, read
from tests.chaos.stage import SETTINGS, Death, Stage, roles, staged
from worker.sandbox import PostgreSQL, RabbitMQ

SETTLE_SECONDS: Final = 90.0
GOODBYE_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a campaign is: the same terms, the same load and the same faults at the same times.

    Attributes:
        seconds: How long the load and the faults last.
        rate: Lines that publishers say in a second, all together.
        plant: A bug to plant in the workers, by its name in ``sabotage``.
    """

    seed: int
    seconds: float
    runtimes: int = 20
    rate: float = 60.0
    layout: str = "per-runtime"
    plant: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a campaign showed."""

    terms: Terms
    began: datetime
    done: list[Done]
    entries: list[Entry]
    evidence: Evidence
    findings: list[Finding]
    deaths: list[Death]
    unconfirmed: int
    settled: float | None
    """Seconds from the end of the load until all had settled; None if it never did."""
    complaints: Counter[str] = field(default_factory=Counter)
    """Errors that the processes logged with a traceback, by their last line."""

    @property
    def is_clean(self) -> bool:
        """Whether every promise was kept."""
        return not (self.findings or self.deaths) and self.settled is not None


async def run(terms: Terms, broker: RabbitMQ, database: PostgreSQL, directory: Path) -> Outcome:
    """Run a campaign on a broker and a database of its own; logs and record go to a directory."""
    url = await database.create_database()
    await asyncio.to_thread(migrations.upgrade, url)
    await audit.install(url, roles())
    path = directory / "record.jsonl"
    record = Record(path)
    async with staged(
        broker, database, url, directory, layout=terms.layout, plant=terms.plant
    ) as stage:
        await stage.start()
        async with Load.ready(
            stage.publish_url,
            SETTINGS["NAMESPACE"],
            terms.layout,
            record,
            seed=terms.seed,
            runtimes=terms.runtimes,
            rate=terms.rate,
        ) as load:
            began = datetime.now(UTC)
            done = await _endured(terms, stage, load)
            settled = await _settled(url, path)
            deaths = stage.deaths + await stage.stop()
    record.close()
    evidence, entries = await gathered(url), read(path)
    return Outcome(
        terms,
        began,
        done,
        entries,
        evidence,
        check(evidence, entries),
        deaths,
        load.unconfirmed,
        settled,
        _complaints(directory),
    )


async def _endured(terms: Terms, stage: Stage, load: Load) -> list[Done]:
    """Load and faults, until both are over and everything is whole again."""
    injector = Injector(stage, monotonic())
    watching = asyncio.create_task(stage.watch(), name="watch")
    publishing = asyncio.create_task(load.run(), name="load")
    try:
        await injector.carry_out(planned(terms.seed, terms.seconds))
        await asyncio.sleep(max(0.0, injector.began + terms.seconds - monotonic()))
        await stage.heal()
        load.over.set()
        async with asyncio.timeout(GOODBYE_SECONDS):
            await publishing
    finally:
        publishing.cancel()
        watching.cancel()
        await asyncio.gather(publishing, watching, return_exceptions=True)
    return injector.done


async def _settled(url: str, path: Path) -> float | None:
    """Wait until nothing is on its way any more; how many seconds that took."""
    entries = read(path)
    began = monotonic()
    while monotonic() - began < SETTLE_SECONDS:
        with suppress(OSError, asyncpg.PostgresError):
            if unaccounted(await gathered(url), entries) == 0:
                return monotonic() - began
        await asyncio.sleep(1.0)
    return None


def _complaints(directory: Path) -> Counter[str]:
    found: Counter[str] = Counter()
    for log in directory.glob("*.log"):
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        found.update(_last_lines(lines))
    return found


def _last_lines(lines: Sequence[str]) -> list[str]:
    """Find the line that ends each traceback: the first one that is not indented."""
    ends = []
    inside = False
    for line in lines:
        if line.lstrip().startswith("Traceback (most recent call last)"):
            inside = True
        elif inside and not line.startswith((" ", "+", "|")):
            ends.append(line[:160])
            inside = False
    return ends
