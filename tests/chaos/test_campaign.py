"""Fault campaigns, run as a person runs them: promises hold, and a planted bug is found."""

from __future__ import annotations

import asyncio
import re
import sys

import pytest

from tests.support.commands import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.rabbitmq,
    pytest.mark.postgres,
    pytest.mark.timeout(400),
]


async def campaign(**terms: object) -> tuple[int, str]:
    """Run a campaign; its exit code and what it printed."""
    flags = [word for name, value in terms.items() for word in (f"--{name}", str(value))]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.chaos", *flags),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    return process.returncode or 0, said.decode()


def counted(said: str, what: str) -> int:
    """The number that the report gives for something."""
    found = re.search(rf"^{what} +(\d+)", said, re.MULTILINE)
    assert found is not None, f"no {what} in what it printed:\n{said}"
    return int(found[1])


async def test_two_minutes_of_faults_break_no_promise() -> None:
    """Twenty faults and more; the seed is fixed, so that a failure can be seen again."""
    code, said = await campaign(seed=4, seconds=90, runtimes=15, rate=30)
    assert code == 0, said
    assert "every promise was kept" in said
    assert counted(said, "faults") >= 20
    assert counted(said, "messages") >= 1000


@pytest.mark.long
@pytest.mark.parametrize(
    ("sabotage", "complaint"),
    [
        ("ack-before-commit", r"lost: \S+ input \S+: confirmed, and neither an input nor a dead"),
        ("no-fence", r"two writers: \S+ \S+: w\d-\d+ wrote to \w+, of which w\d-\d+ is the owner"),
        (
            "ack-of-a-fenced-batch",
            r"lost: \S+ input \S+: confirmed, and neither an input nor a dead",
        ),
    ],
)
async def test_a_planted_bug_is_found(sabotage: str, complaint: str) -> None:
    """The faults that suit it bring it to light within seconds, and who was hurt is named."""
    code, said = await campaign(sabotage=sabotage, seed=1, seconds=17, patience=10)
    assert code == 1, said
    assert re.search(f"^{complaint}", said, re.MULTILINE), said
