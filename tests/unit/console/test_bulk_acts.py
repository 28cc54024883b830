"""Acts in the background: each ends somehow, says how, and is forgotten in the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from store.errors import StoreUnavailableError
from tests.support.eventually import eventually
from tests.support.store import NOW, new_id
from worker.console.bulk import KEPT, BulkAct, BulkActs, Stage, Tally, Verb


def _act() -> BulkAct:
    return BulkAct(new_id(), Verb.DISCARD, 3, "ada", "/dead-letters/list", NOW)


async def _work(*, then: Exception | None = None, stay: bool = False) -> AsyncIterator[Tally]:
    yield {"discarded": 1}
    if then is not None:
        raise then
    if stay:
        await asyncio.Event().wait()
    yield {"discarded": 2, "not_open": 1}


async def test_an_act_tells_how_far_it_is_and_is_done() -> None:
    acts, act = BulkActs(lambda: NOW), _act()
    acts.begin(act, _work())
    assert acts.going == [act]
    await eventually(lambda: not acts.going, 5, "it is over")
    assert (act.stage, act.done, act.ended_at) == (Stage.DONE, 3, NOW)
    assert acts.get(act.id) is act


@pytest.mark.parametrize("early", [True, False])
async def test_an_act_that_is_stopped_says_so_however_early(early: bool) -> None:
    acts, act = BulkActs(lambda: NOW), _act()
    acts.begin(act, _work(stay=True))
    if not early:
        await eventually(lambda: act.done == 1, 5, "it has begun")
    acts.stop(act.id)
    await eventually(lambda: act.ended_at is not None, 5, "it is over")
    assert (act.stage, act.done) == (Stage.STOPPED, 0 if early else 1)


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (StoreUnavailableError("no answer"), "no answer"),
        (KeyError("a secret"), "unexpected KeyError"),
    ],
)
async def test_an_act_that_fails_says_why_and_the_console_lives_on(
    error: Exception, fault: str
) -> None:
    acts, act = BulkActs(lambda: NOW), _act()
    acts.begin(act, _work(then=error))
    await eventually(lambda: act.ended_at is not None, 5, "it is over")
    assert (act.stage, act.fault) == (Stage.FAILED, fault)


async def test_acts_that_are_long_over_are_forgotten_and_those_under_way_are_not() -> None:
    acts = BulkActs(lambda: NOW)
    lasting = _act()
    acts.begin(lasting, _work(stay=True))
    over = [_act() for _ in range(KEPT + 5)]
    for act in over:
        acts.begin(act, _work())
        await eventually(lambda: acts.going == [lasting], 5, "it is over")
    assert acts.get(over[0].id) is None
    assert acts.get(over[-1].id) is not None
    assert acts.going == [lasting]
    await acts.close()
    assert lasting.stage is Stage.STOPPED
