"""Metrics: declared once, separate for each process object, and bounded."""

from __future__ import annotations

import ast
from pathlib import Path

from prometheus_client import Counter, Gauge, Histogram

from worker.metrics import Metrics, declared, raise_to

_WORKER = Path(__file__).parents[2] / "worker"


def test_every_instrument_is_made_and_described() -> None:
    """Each declared field is an instrument of its kind, with a sentence for people."""
    metrics = Metrics()
    for name, (kind, recipe) in declared().items():
        assert isinstance(getattr(metrics, name), kind)
        assert kind in {Counter, Gauge, Histogram}
        assert recipe.doc.endswith(".")
        assert f"# HELP meerkat_{name}".encode() in metrics.exposition()


def test_every_instrument_is_fed() -> None:
    """What is declared is used by some module: a metric that is always zero is a lie."""
    modules = (path for path in _WORKER.rglob("*.py") if path.name != "metrics.py")
    nodes = (node for path in modules for node in ast.walk(ast.parse(path.read_text("utf-8"))))
    used = {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute)
        and ast.unparse(node.value).rpartition(".")[2] == "metrics"
    }
    assert declared().keys() - used == set()


def test_a_counter_follows_a_total() -> None:
    """It is brought to the total, however often that is said."""
    metrics = Metrics()
    for total in (0, 2, 2, 5):
        raise_to(metrics.lost_acks, total)
    assert metrics.registry.get_sample_value("meerkat_lost_acks_total") == 5


def test_two_processes_in_one_test_do_not_share_counts() -> None:
    """Registries are not global."""
    one, two = Metrics(), Metrics()
    one.lost_acks.inc()
    assert one.registry.get_sample_value("meerkat_lost_acks_total") == 1
    assert two.registry.get_sample_value("meerkat_lost_acks_total") == 0


def test_a_released_queue_is_no_longer_reported() -> None:
    """A worker that gave a queue away does not report its lag for ever."""
    metrics = Metrics()
    metrics.queue_lag.labels("a").set(3)
    metrics.queue_lag.labels("b").set(4)
    metrics.forget_queue("a")
    metrics.forget_queue("never seen")
    assert b'queue="a"' not in metrics.exposition()
    assert b'queue="b"' in metrics.exposition()
