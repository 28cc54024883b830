"""Sabotage: a worker with one function replaced by a wrong one, to see that the checker sees it.

``python -m tests.chaos.sabotage NAME run`` is ``meerkat-worker run`` with that bug planted.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from store import commit
from tests.chaos.plan import DATABASE, WORKERS, Act, Fault
from worker import runtime
from worker.assembly import Assembler
from worker.batch import Item
from worker.broker.delivery import Delivery, Settlement
from worker.cli import main
from worker.disposition import Disposition


@dataclass(frozen=True, slots=True)
class Sabotage:
    """A bug to plant, and the faults that bring it to light soon; none: those of the seed."""

    plant: Callable[[], None]
    faults: tuple[Act, ...] = ()


def ack_before_commit() -> None:
    """Ack a batch as soon as it is taken."""
    _tolerate_second_settlements()
    process = runtime.Runtime._process

    async def hasty(
        self: runtime.Runtime, items: Sequence[Item], now: datetime, *, isolated: bool
    ) -> bool:
        for item in items:
            item.delivery.ack()
        return await process(self, items, now, isolated=isolated)

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

    async def backwards(
        self: runtime.Runtime, items: Sequence[Item], now: datetime, *, isolated: bool
    ) -> bool:
        return await process(self, items[::-1], now, isolated=isolated)

    runtime.Runtime._process = backwards  # type: ignore[method-assign]


def no_letter() -> None:
    """Ack what cannot be processed, and keep nothing of it."""
    Assembler.letters = lambda *_args, **_kwargs: ()  # type: ignore[method-assign]


def _tolerate_second_settlements() -> None:
    """Let a delivery that was acked too early be settled again in its proper place."""
    once = Delivery._settle

    def settle(self: Delivery, settlement: Settlement) -> None:
        if self.settlement is Settlement.OPEN:
            once(self, settlement)

    Delivery._settle = settle  # type: ignore[method-assign]


_OUTAGES: Final = (Act(2.0, 5.0, Fault.KILL, DATABASE), Act(10.0, 5.0, Fault.KILL, DATABASE))
"""Longer than the grace: what is in hand is given back."""
_TAKEOVERS: Final = tuple(Act(at, 1.0, Fault.KILL, WORKERS[0]) for at in (1.0, 13.0))
"""Others take over, lose what they took to the new life, and take over again: with old drivers."""

SABOTAGES: Final = {
    "ack-before-commit": Sabotage(ack_before_commit, _OUTAGES),
    "no-fence": Sabotage(no_fence, _TAKEOVERS),
    "ack-of-a-fenced-batch": Sabotage(ack_of_a_fenced_batch, _TAKEOVERS),
    "batch-in-reverse": Sabotage(batch_in_reverse),
    "no-letter": Sabotage(no_letter),
}
"""The bugs that can be planted, by name."""

if __name__ == "__main__":
    SABOTAGES[sys.argv.pop(1)].plant()
    main()
