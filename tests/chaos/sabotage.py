"""Sabotage: a worker with one function replaced by a wrong one, to see that the checker sees it.

``python -m tests.chaos.sabotage NAME run`` is ``meerkat-worker run`` with that bug planted.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from store import commit
from worker import runtime
from worker.assembly import Assembler
from worker.batch import Item
from worker.broker.delivery import Delivery, Settlement
from worker.cli import main
from worker.disposition import Disposition


def _tolerate_second_settlements() -> None:
    """Let a delivery that was acked too early be settled again in its proper place."""
    once = Delivery._settle

    def settle(self: Delivery, settlement: Settlement) -> None:
        if self.settlement is Settlement.OPEN:
            once(self, settlement)

    Delivery._settle = settle  # type: ignore[method-assign]


def ack_before_commit() -> None:
    """Ack a batch as soon as it is taken."""
    _tolerate_second_settlements()
    process = runtime.Runtime._process

    async def hasty(self: runtime.Runtime, items: Sequence[Item], now: datetime) -> bool:
        for item in items:
            item.delivery.ack()
        return await process(self, items, now)

    runtime.Runtime._process = hasty  # type: ignore[method-assign]


def no_fence() -> None:
    """Take every epoch for the right one."""
    commit._is_live = lambda part, epochs: True  # noqa: ARG005 - the names are its contract


def ack_of_a_fenced_batch() -> None:
    """Ack what another worker's epoch kept from being committed."""
    give_back = runtime.Runtime._give_back

    def careless(self: runtime.Runtime, items: Sequence[Item], disposition: Disposition) -> bool:
        if disposition is not Disposition.RETURNED_FENCED:
            return give_back(self, items, disposition)
        self._driver = None
        return self._ack(items)

    runtime.Runtime._give_back = careless  # type: ignore[method-assign]


def batch_in_reverse() -> None:
    """Decide about the messages of a batch from the last one to the first."""
    process = runtime.Runtime._process

    async def backwards(self: runtime.Runtime, items: Sequence[Item], now: datetime) -> bool:
        return await process(self, items[::-1], now)

    runtime.Runtime._process = backwards  # type: ignore[method-assign]


def no_letter() -> None:
    """Ack what cannot be processed, and keep nothing of it."""
    Assembler.letters = lambda *_args, **_kwargs: ()  # type: ignore[method-assign]


PLANTS: Final[dict[str, Callable[[], None]]] = {
    "ack-before-commit": ack_before_commit,
    "no-fence": no_fence,
    "ack-of-a-fenced-batch": ack_of_a_fenced_batch,
    "batch-in-reverse": batch_in_reverse,
    "no-letter": no_letter,
}
"""The bugs that can be planted, by name."""

if __name__ == "__main__":
    PLANTS[sys.argv.pop(1)]()
    main()
