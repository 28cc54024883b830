"""Terms: what a campaign is. The same terms are the same load and the same faults again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

NAMESPACE: Final = "chaos"
PATIENCE: Final = 120.0
"""Longer than a timer that was claimed by a worker that died waits for the next one (a minute)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a campaign is.

    Attributes:
        seed: What the faults and the traffic are drawn from.
        seconds: How long the load and the faults last.
        rate: Lines that publishers say in a second, all together.
        sabotage: A bug to plant in the workers, by its name in ``sabotage``.
        patience: Seconds after the load until what is still on its way counts as lost.
    """

    seed: int
    seconds: float
    runtimes: int = 20
    rate: float = 60.0
    layout: str = "per-runtime"
    sabotage: str | None = None
    patience: float = PATIENCE

    @property
    def command(self) -> str:
        """The command that runs a campaign on these terms."""
        sabotage = f" --sabotage {self.sabotage}" if self.sabotage else ""
        return (
            f"python -m tests.chaos --seed {self.seed} --seconds {self.seconds:g} "
            f"--runtimes {self.runtimes} --rate {self.rate:g} --layout {self.layout}{sabotage}"
        )
