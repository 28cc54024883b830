"""Gather batches without a timer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from store.gather import Gather


class Recorder:
    """A call that waits for permission and remembers what it was given."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.permission = asyncio.Semaphore(0)
        self.began = asyncio.Event()

    async def __call__(self, items: Sequence[int]) -> Sequence[int]:
        self.calls.append(list(items))
        self.began.set()
        await self.permission.acquire()
        return [item * 10 for item in items]


async def test_what_arrives_during_a_call_is_taken_by_the_next_at_once() -> None:
    recorder = Recorder()
    gather = Gather(recorder)
    first = asyncio.create_task(gather.submit(1))
    await recorder.began.wait()
    rest = [asyncio.create_task(gather.submit(n)) for n in (2, 3, 4)]
    await asyncio.sleep(0)
    recorder.permission.release()
    recorder.permission.release()
    assert await first == 10
    assert await asyncio.gather(*rest) == [20, 30, 40]
    assert recorder.calls == [[1], [2, 3, 4]]


async def test_the_next_call_begins_before_anybody_works_on_the_results() -> None:
    recorder = Recorder()
    gather = Gather(recorder)

    async def submit() -> int:
        await gather.submit(1)
        return len(recorder.calls)

    first = asyncio.create_task(submit())
    await recorder.began.wait()
    second = asyncio.create_task(submit())
    await asyncio.sleep(0)
    recorder.permission.release()
    assert await first == 2
    recorder.permission.release()
    assert await second == 2


async def test_a_call_takes_no_more_than_the_bound_but_always_one() -> None:
    recorder = Recorder()
    gather: Gather[int, int] = Gather(recorder, weigh=lambda n: n, bound=5)
    tasks = [asyncio.create_task(gather.submit(n)) for n in (9, 2, 3, 1)]
    for _ in range(3):
        recorder.permission.release()
    assert await asyncio.gather(*tasks) == [90, 20, 30, 10]
    assert recorder.calls == [[9], [2, 3], [1]]


async def test_a_failed_call_fails_its_own_submitters_and_nobody_else() -> None:
    async def refuse_odd(items: Sequence[int]) -> Sequence[int]:
        if items[0] % 2:
            raise ValueError(items[0])
        return items

    gather = Gather(refuse_odd, bound=1)
    odd, even = await asyncio.gather(gather.submit(1), gather.submit(2), return_exceptions=True)
    assert isinstance(odd, ValueError)
    assert even == 2


@pytest.mark.parametrize("began", [False, True])
async def test_when_a_call_is_cancelled_nobody_waits_for_ever(began: bool) -> None:
    recorder = Recorder()
    gather = Gather(recorder, bound=1)
    submitters = [asyncio.create_task(gather.submit(n)) for n in (1, 2)]
    await (recorder.began.wait() if began else asyncio.sleep(0))
    [call] = [task for task in asyncio.all_tasks() if task.get_name() == "gather"]
    call.cancel()
    done, _ = await asyncio.wait(submitters, timeout=1)
    assert all(task.cancelled() for task in done)
    assert len(done) == 2
    recorder.permission.release()
    assert await gather.submit(3) == 30


async def test_a_submitter_that_was_cancelled_does_not_disturb_the_others() -> None:
    recorder = Recorder()
    gather = Gather(recorder)
    gone = asyncio.create_task(gather.submit(1))
    stays = asyncio.create_task(gather.submit(2))
    await recorder.began.wait()
    gone.cancel()
    recorder.permission.release()
    assert await stays == 20
    with pytest.raises(asyncio.CancelledError):
        await gone
