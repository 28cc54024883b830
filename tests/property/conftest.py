"""How long properties are looked at: ``quick``, or more by ``--hypothesis-profile=long``."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings

settings.register_profile(
    "quick",
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
    phases=[phase for phase in Phase if phase is not Phase.explain],  # slow, and of no help here
    report_multiple_bugs=False,
)
settings.register_profile("long", settings.get_profile("quick"), max_examples=5_000)


def pytest_configure(config: pytest.Config) -> None:
    """Be quick unless told otherwise."""
    if config.getoption("--hypothesis-profile") is None:
        settings.load_profile("quick")
