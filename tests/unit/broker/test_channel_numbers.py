"""Channel numbers: each in turn, none that is in use."""

from worker.broker.channel_numbers import ChannelNumbers


def test_goes_round_past_those_in_use() -> None:
    """A number that was just given up is the last to be taken again."""
    numbers = ChannelNumbers(4)
    assert [numbers.take(()) for _ in range(3)] == [1, 2, 3]
    assert [numbers.take({2, 4}) for _ in range(3)] == [1, 3, 1]


def test_all_in_use_is_none() -> None:
    """When every number is in use there is none to take."""
    assert ChannelNumbers(2).take({1, 2}) is None


def test_spoilt_numbers_are_the_last_resort() -> None:
    """A number that the broker closed is left out while there are others, then used again."""
    numbers = ChannelNumbers(3)
    numbers.spoil(1)
    assert [numbers.take({3}), numbers.take({3})] == [2, 2]
    assert numbers.take({2, 3}) == 1
    assert numbers.take({3}) == 2
    assert numbers.take({2, 3}) == 1
