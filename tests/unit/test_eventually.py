"""eventually waits for a true answer and fails with what it waited for."""

import pytest

from tests.support.eventually import eventually


async def test_the_first_true_answer_is_returned() -> None:
    """Asked until it is true, also where the answer must be awaited."""
    answers = iter([0, None, 7])

    async def answer() -> int | None:
        return next(answers)

    assert await eventually(answer) == 7


async def test_a_broken_promise_is_named_with_the_last_answer() -> None:
    """The failure says what was waited for, how long, and what was seen instead."""
    with pytest.raises(AssertionError, match=r"not within 0.01 s: two rows; last answer: 0"):
        await eventually(lambda: 0, 0.01, "two rows")
