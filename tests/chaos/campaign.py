"""The campaign: load and faults on a stage, then peace, then the checker's verdict."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Final

from store import migrations
from tests.chaos import audit
from tests.chaos.checker import Finding, check, unaccounted
from tests.chaos.evidence import Evidence, gathered, is_quiet
from tests.chaos.faults import Done, Injector
from tests.chaos.plan import Act, planned
from tests.chaos.publishers import Load
from tests.chaos.record import Entry, Record, read
from tests.chaos.sabotage import SABOTAGES
from tests.chaos.stage import Death, Stage, roles, staged
from tests.chaos.terms import Terms
from worker.sandbox import PostgreSQL, RabbitMQ

GOODBYE_SECONDS: Final = 60.0
PROGRESS_SECONDS: Final = 10.0

Tell = Callable[[str], None]


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
    """Errors that processes logged with a traceback, by their last line, and slow endings."""

    @property
    def is_clean(self) -> bool:
        """Whether every promise was kept."""
        return not (self.findings or self.deaths) and self.settled is not None


def plan_of(terms: Terms) -> tuple[Act, ...]:
    """Draw the faults; a planted bug may bring its own."""
    drawn = planned(terms.seed, terms.seconds)
    return drawn if terms.sabotage is None else SABOTAGES[terms.sabotage].faults or drawn


async def run(
    terms: Terms, broker: RabbitMQ, database: PostgreSQL, directory: Path, tell: Tell
) -> Outcome:
    """Run a campaign on a broker and a database of its own.

    Args:
        terms: What it is.
        broker: To be killed and paused.
        database: The same.
        directory: Where the record and the logs of all processes go.
        tell: Told what happens, a line at a time.
    """
    url = await database.create_database()
    await asyncio.to_thread(migrations.upgrade, url)
    await audit.install(url, roles(terms.seconds))
    record = Record(directory / "record.jsonl")
    async with staged(broker, database, url, directory, terms) as stage:
        await stage.start()
        async with Load.ready(stage.publish_url, record, terms) as load:
            tell("all work, every runtime was greeted: the load begins")
            began = datetime.now(UTC)
            done = await _endured(terms, stage, load, tell)
            tell("the load is over, all connections are good: waiting until all has settled")
            settled = await _settled(url, record, terms.patience)
            deaths = stage.deaths + await stage.stop()
    record.close()
    evidence, entries = await gathered(url), read(record.path)
    findings = check(evidence, entries)
    complaints = _complaints(directory)
    return Outcome(
        terms,
        began,
        done,
        entries,
        evidence,
        findings,
        deaths,
        load.unconfirmed,
        settled,
        complaints,
    )


async def _endured(terms: Terms, stage: Stage, load: Load, tell: Tell) -> list[Done]:
    """Load and faults, until both are over and everything is whole again."""
    injector = Injector(stage, monotonic(), tell)
    publishing = asyncio.create_task(load.run(), name="load")
    beside = [
        asyncio.create_task(stage.watch(), name="watch"),
        asyncio.create_task(_progress(injector, load, tell), name="progress"),
    ]
    try:
        await injector.carry_out(plan_of(terms))
        await asyncio.sleep(max(0.0, injector.began + terms.seconds - monotonic()))
        await stage.heal()
        load.over.set()
        async with asyncio.timeout(GOODBYE_SECONDS):
            await publishing
    finally:
        for task in (publishing, *beside):
            task.cancel()
        await asyncio.gather(publishing, *beside, return_exceptions=True)
    return injector.done


async def _progress(injector: Injector, load: Load, tell: Tell) -> None:
    while True:
        await asyncio.sleep(PROGRESS_SECONDS)
        tell(
            f"{monotonic() - injector.began:6.1f} s  -- {len(injector.done)} faults over, "
            f"{load.confirmed} messages confirmed, {load.unconfirmed} tries without a confirm"
        )


async def _settled(url: str, record: Record, patience: float) -> float | None:
    """Wait until nothing is on its way any more; how many seconds that took."""
    entries = read(record.path)
    began = monotonic()
    while monotonic() - began < patience:
        if await is_quiet(url) and unaccounted(await gathered(url), entries) == 0:
            return monotonic() - began
        await asyncio.sleep(1.0)
    return None


def _complaints(directory: Path) -> Counter[str]:
    found: Counter[str] = Counter()
    for log in directory.glob("*.log"):
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        found.update(_last_lines(lines))
        found.update(line[28:] for line in lines if "stop: leaving at once" in line)
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
