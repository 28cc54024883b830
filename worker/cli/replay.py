"""``replay``: a recorded trace through the driver, offline."""

from __future__ import annotations

import sys

from worker.cli.options import JsonLines, source_of
from worker.cli.root import noun
from worker.driver.replay import replay as steps
from worker.terminal import inert

app = noun("replay")


@app.command()
def replay(file: JsonLines = None) -> None:
    """Run a recorded trace through the driver, offline.

    Reads operations as JSON lines and prints what the driver did as one JSON line a step. Touches
    neither broker nor database. A line that it does not know ends it with exit code 2 and the
    line's number.

    Example:  meerkat-worker replay trace.jsonl | jq .outcome
    """
    for step in steps(source_of(file)):
        sys.stdout.write(inert(step) + "\n")
