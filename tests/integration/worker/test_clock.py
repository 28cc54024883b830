"""A clock that jumps changes no order and no outcome."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta
from pathlib import Path

from tests.support.deployment import Deployment
from tests.support.eventually import eventually
from tests.support.ledger import Ledger
from worker.client import Prompt

HOUR = 3600


async def test_a_clock_that_jumps_to_and_fro_loses_nothing_and_keeps_the_order(
    deployment: Deployment, ledger: Ledger, tmp_path: Path
) -> None:
    """An hour ahead every lease is over at once; an hour back all that is stored is in future."""
    ahead = tmp_path / "seconds-ahead"
    ahead.write_text("0")
    skewed = dataclasses.replace(
        deployment,
        program=("tests.support.skewed", str(ahead)),
        settings={"BACKOFF_BASE": "0.1", "BACKOFF_CAP": "0.2"},
    )
    prompts: list[Prompt] = []
    async with deployment.client() as client, skewed.worker(), deployment.executor():
        for jump in (0, HOUR, -HOUR, 2 * HOUR, 0):
            ahead.write_text(str(jump))
            more = [Prompt(f"at {jump}, {n}") for n in range(10)]
            await client.publish_many([("ada", prompt) for prompt in more])
            prompts += more
            number = len(prompts)
            await eventually(lambda: _consumed(ledger, number), 60, f"at {jump} all go on")  # noqa: B023
    stamps = [datetime.fromisoformat(row["created_at"]) for row in await ledger.inputs("ada")]
    assert max(stamps) - min(stamps) > timedelta(hours=2), "the clock did not jump"
    assert await ledger.ids("ada") == [prompt.id for prompt in prompts]
    applied = [one for _, _, inputs in await ledger.receipts("ada") for one in inputs]
    assert sorted(applied) == sorted(prompt.id for prompt in prompts)
    assert await ledger.letters() == []


async def _consumed(ledger: Ledger, number: int) -> bool:
    states = await ledger.states("ada")
    return len(states) == number and set(states) == {"consumed"}
