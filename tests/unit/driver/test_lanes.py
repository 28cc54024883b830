"""Lanes keep inputs in the order of their positions, whatever comes and goes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from schemas.ids import InputId
from tests.unit.driver.scene import Scene, new_id, prompt
from worker.driver.lanes import LaneList

_IDS = [new_id() for _ in range(6)]
_POSITIONS = dict(zip(_IDS, (-9, -5, 1, 2, 3, 7), strict=True))


def _lane(ids: list[InputId]) -> LaneList:
    lane = LaneList()
    for input_id in ids:
        lane.append(input_id, _POSITIONS[input_id])
    return lane


def test_an_entry_can_be_removed_from_anywhere() -> None:
    """What stays keeps its order."""
    lane = _lane(_IDS)
    lane.remove(_IDS[3])
    lane.remove(_IDS[0])
    assert list(lane) == [_IDS[1], _IDS[2], _IDS[4], _IDS[5]]
    assert (len(lane), lane.first_position) == (4, -5)


def test_an_empty_lane_has_no_first_position() -> None:
    """There is nothing to stand in front."""
    assert LaneList().first_position is None


@given(st.sets(st.sampled_from(_IDS)), st.permutations(_IDS))
def test_what_is_restored_stands_where_it_stood(away: set[InputId], order: list[InputId]) -> None:
    """Whichever entries were away, and in whichever order they are named."""
    lane = _lane([input_id for input_id in _IDS if input_id not in away])
    lane.restore({input_id: _POSITIONS[input_id] for input_id in order if input_id in away})
    assert list(lane) == _IDS


def test_removing_many_from_the_front_stays_cheap() -> None:
    """Finding the first of a lane does not walk over those that were removed before it."""
    scene = Scene(announce=False)
    ids = scene.accept_all(*(prompt() for _ in range(2000)))
    for input_id in ids[:-1]:
        assert scene.started().input_ids == (input_id,)
        scene.boundary()
        scene.complete()
        scene.driver.take()
    assert scene.queue == ids[-1:]
