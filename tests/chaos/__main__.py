"""``python -m tests.chaos``: one campaign. Ends with exit code 1 if a promise was broken."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

from tests.chaos.campaign import Outcome, plan_of, run
from tests.chaos.report import lines
from tests.chaos.sabotage import SABOTAGES
from tests.chaos.terms import PATIENCE, Terms
from worker import log
from worker.sandbox import start_postgresql, start_rabbitmq
from worker.settings import LogFormat, LogLevel


def main() -> int:
    """Run one campaign and report; logs and record stay where a promise was broken."""
    asked = _arguments()
    terms = Terms(
        seed=asked.seed,
        seconds=asked.seconds,
        runtimes=asked.runtimes,
        rate=asked.rate,
        layout=asked.layout,
        sabotage=asked.sabotage,
        patience=asked.patience,
    )
    if asked.show:
        sys.stdout.writelines(f"{act}\n" for act in plan_of(terms))
        return 0
    directory = asked.keep or Path(tempfile.mkdtemp(prefix=f"meerkat-chaos-{terms.seed}-"))
    if asked.keep:
        directory.mkdir(parents=True)
    outcome = _campaign(terms, directory)
    for line in lines(outcome):
        _tell(line)
    if outcome.is_clean and asked.keep is None:
        shutil.rmtree(directory)
    else:
        _tell(f"logs and record  {directory}")
    return 0 if outcome.is_clean else 1


def _campaign(terms: Terms, directory: Path) -> Outcome:
    _tell(f"replay with: {terms.command}")
    with (
        (directory / "publishers.log").open("w", encoding="utf-8") as own,
        start_rabbitmq(private=True) as broker,
        start_postgresql(private=True) as database,
    ):
        log.configure(LogLevel.INFO, LogFormat.CONSOLE, own)
        return asyncio.run(run(terms, broker, database, directory, _tell))


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of load and faults")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("--runtimes", type=int, default=20)
    parser.add_argument("--rate", type=float, default=60.0, help="lines a second, all together")
    parser.add_argument("--layout", default="per-runtime", help="or sharded:N")
    parser.add_argument(
        "--sabotage", choices=sorted(SABOTAGES), help="plant a bug, which is to be found"
    )
    parser.add_argument(
        "--patience", type=float, default=PATIENCE, help="seconds until all must have settled"
    )
    parser.add_argument("--show", action="store_true", help="show the faults and do nothing")
    parser.add_argument("--keep", type=Path, help="a new directory for logs and record; it stays")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
