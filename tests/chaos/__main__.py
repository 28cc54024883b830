"""``python -m tests.chaos``: one campaign. Ends with exit code 1 if a promise was broken."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

from tests.chaos.campaign import Outcome, Terms, run
from tests.chaos.plan import planned
from tests.chaos.report import lines
from tests.chaos.sabotage import PLANTS
from worker.sandbox import start_postgresql, start_rabbitmq


def main() -> int:
    """Run one campaign and report; logs and record stay where a promise was broken."""
    asked = _arguments()
    terms = Terms(
        seed=asked.seed,
        seconds=asked.seconds,
        runtimes=asked.runtimes,
        rate=asked.rate,
        layout=asked.layout,
        plant=asked.plant,
    )
    if asked.show:
        sys.stdout.writelines(f"{act}\n" for act in planned(terms.seed, terms.seconds))
        return 0
    directory = asked.keep or Path(tempfile.mkdtemp(prefix=f"meerkat-chaos-{terms.seed}-"))
    directory.mkdir(parents=True, exist_ok=True)
    outcome = _campaign(terms, directory)
    sys.stdout.writelines(f"{line}\n" for line in lines(outcome))
    if outcome.is_clean and asked.keep is None:
        shutil.rmtree(directory)
    else:
        sys.stdout.write(f"Logs and record: {directory}\n")
    return 0 if outcome.is_clean else 1


def _campaign(terms: Terms, directory: Path) -> Outcome:
    with start_rabbitmq(private=True) as broker, start_postgresql(private=True) as database:
        return asyncio.run(run(terms, broker, database, directory))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of load and faults")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("--runtimes", type=int, default=20)
    parser.add_argument("--rate", type=float, default=60.0, help="lines a second, all together")
    parser.add_argument("--layout", default="per-runtime", help="or sharded:N")
    parser.add_argument("--plant", choices=sorted(PLANTS), help="a bug that is to be found")
    parser.add_argument("--show", action="store_true", help="show the faults and do nothing")
    parser.add_argument("--keep", type=Path, help="where logs and record go; they stay there")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
