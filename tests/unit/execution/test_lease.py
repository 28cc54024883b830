"""The lease, on a clock of the test's own."""

import pytest

from worker.execution.errors import LeaseLostError
from worker.execution.lease import Lease


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += seconds


async def test_a_confirmed_sign_of_life_counts_from_when_it_was_sent() -> None:
    """A confirm that took its time does not lengthen the lease."""
    clock = Clock()
    lease = Lease(10, clock)

    async def slow_sign() -> None:
        clock.forward(4)

    clock.forward(3)
    await lease.renew(slow_sign)
    assert lease.remaining == 6


async def test_an_unconfirmed_sign_of_life_does_not_count() -> None:
    """The lease runs on as if nothing had been said."""
    clock = Clock()
    lease = Lease(10, clock)

    async def lost_sign() -> None:
        clock.forward(4)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await lease.renew(lost_sign)
    assert lease.remaining == 6


async def test_what_fails_for_a_while_is_done_in_the_end() -> None:
    """Failures that were foreseen are outlasted."""
    failures = [ConnectionError(), ConnectionError()]

    async def act() -> str:
        if failures:
            raise failures.pop()
        return "done"

    assert await Lease(10).insist(act, (ConnectionError,)) == "done"


async def test_insisting_ends_with_the_lease_and_tells_the_last_failure() -> None:
    """Nothing is tried for a run that is somebody else's."""
    clock = Clock()
    lease = Lease(10, clock)

    async def act() -> None:
        clock.forward(11)
        raise ConnectionError("away")

    with pytest.raises(LeaseLostError, match="the lease of 10 s has passed") as caught:
        await lease.insist(act, (ConnectionError,))
    assert isinstance(caught.value.__cause__, ConnectionError)


async def test_what_was_not_foreseen_is_not_tried_again() -> None:
    """A mistake in the program is no weather."""

    async def act() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await Lease(10).insist(act, (ConnectionError,))
