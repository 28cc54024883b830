"""The evidence: what the database holds, read once it has settled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Final

from schemas.ids import InputId, RuntimeId
from schemas.records import InputRecord, ReceiptRecord, RunRecord
from store.dead_letters import Letter, LetterFilter
from store.sql import SqlStore

_LOOK_SECONDS: Final = 0.1
_MOST: Final = 1000


@dataclass(frozen=True, slots=True)
class Evidence:
    """What became of the story.

    Attributes:
        inputs: Each runtime's inputs in admission order.
        runs: Each runtime's runs.
        receipts: Each runtime's receipts.
        letters: The dead letters.
        epochs: How often each runtime was activated.
    """

    inputs: Mapping[RuntimeId, Sequence[InputRecord]]
    runs: Mapping[RuntimeId, Sequence[RunRecord]]
    receipts: Mapping[RuntimeId, Sequence[ReceiptRecord]]
    letters: Sequence[Letter]
    epochs: Mapping[RuntimeId, int]

    @property
    def all_inputs(self) -> list[InputRecord]:
        """The inputs of all runtimes."""
        return [record for records in self.inputs.values() for record in records]

    @property
    def settled(self) -> int:
        """How many inputs have come to their end."""
        return sum(record.state.is_terminal for record in self.all_inputs)

    @property
    def applied(self) -> list[InputId]:
        """Every input that a receipt names, as often as receipts name it."""
        return [
            input_id
            for records in self.receipts.values()
            for record in records
            for input_id in record.receipt.contributing_input_ids
        ]


async def gather(store: SqlStore, runtimes: Sequence[RuntimeId]) -> Evidence:
    """Read what is there now."""
    queries = store.queries
    details = {name: await queries.runtime(name) for name in runtimes}
    return Evidence(
        inputs={name: (await queries.inputs(name, limit=_MOST)).items for name in runtimes},
        runs={name: (await queries.runs(name, limit=_MOST)).items for name in runtimes},
        receipts={name: (await queries.receipts(name, limit=_MOST)).items for name in runtimes},
        letters=(await store.dead_letters.letters(LetterFilter(status=None))).items,
        epochs={name: one.runtime.epoch for name, one in details.items() if one is not None},
    )


async def until(
    store: SqlStore,
    runtimes: Sequence[RuntimeId],
    come_true: Callable[[Evidence], bool],
    *,
    seconds: float,
    seen: Callable[[Evidence], None],
) -> Evidence:
    """Look again and again until something has come true, or time is up; answers the last look."""
    end = monotonic() + seconds
    while True:
        evidence = await gather(store, runtimes)
        seen(evidence)
        if come_true(evidence) or monotonic() > end:
            return evidence
        await asyncio.sleep(_LOOK_SECONDS)
