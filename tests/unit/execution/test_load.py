"""Finding an executor by its name."""

import pytest

from worker import echo
from worker.executor import ExecutorError, load


def test_an_executor_is_found_by_module_and_name() -> None:
    """What the command line is told is the object in the module."""
    assert load("worker.echo:executor") is echo.executor


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("worker.echo", "expected module:name"),
        (":executor", "expected module:name"),
        ("worker.echo:", "expected module:name"),
        ("worker.nowhere:executor", "cannot import worker.nowhere"),
        ("worker.echo:nothing", "found nothing"),
        ("worker.echo:echo", "found a function"),
    ],
)
def test_a_name_that_leads_nowhere_is_refused_in_a_sentence(name: str, why: str) -> None:
    """The sentence says what was wrong with it."""
    with pytest.raises(ExecutorError, match=why):
        load(name)
