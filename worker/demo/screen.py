"""The screen: what the demo shows while it plays and when it is over."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from schemas.ids import InputId, RunId, RuntimeId
from worker.cli.output import console
from worker.demo.evidence import Evidence
from worker.demo.stage import Stage
from worker.demo.story import RUNTIMES, Scene, Story
from worker.demo.verdict import Finding


class Screen:
    """Lines of progress, then tables."""

    def __init__(self) -> None:
        self._out: Console = console()

    def say(self, sentence: str) -> None:
        """Tell what happens now."""
        self._out.print(Text(f"● {sentence}"))

    def detail(self, sentence: str) -> None:
        """Add to it."""
        self._out.print(Text(f"  {sentence}", style="dim"))

    def runtime(self, name: RuntimeId, story: Story, evidence: Evidence) -> None:
        """Show a runtime's inputs in order."""
        grid = _grid(f"Runtime {name}", "#", "input", "kind", "what", "state", "run", "attempts")
        about = {scene.draft.id: scene.about for scene in story.scenes if not scene.duplicate_of}
        numbers = _numbers(evidence, name)
        for record in evidence.inputs[name]:
            run = numbers.get(record.last_run_id) if record.last_run_id else None
            grid.add_row(
                str(record.sequence),
                _short(record.input_id),
                record.kind.value,
                about.get(record.input_id, ""),
                record.state.value,
                f"run {run}" if run else "none: consumed when accepted",
                str(record.attempt_count),
            )
        self._out.print(grid)

    def receipts(self, evidence: Evidence) -> None:
        """Show the receipts of all runtimes, run by run."""
        grid = _grid("Receipts", "runtime", "run", "boundary", "sequence", "inputs", "epoch")
        for name in RUNTIMES:
            numbers = _numbers(evidence, name)
            ordered = sorted(evidence.receipts[name], key=lambda one: numbers[one.receipt.run_id])
            for record in ordered:
                receipt = record.receipt
                grid.add_row(
                    name,
                    f"run {numbers[receipt.run_id]}",
                    receipt.boundary.value,
                    str(receipt.sequence),
                    ", ".join(_short(one) for one in receipt.contributing_input_ids),
                    str(record.epoch),
                )
        self._out.print(grid)

    def duplicates(self, story: Story) -> None:
        """Show what was recognised."""
        grid = _grid("Deduplicated", "runtime", "message", "is known as", "what")
        for scene in story.scenes:
            if scene.duplicate_of is not None:
                grid.add_row(*_duplicate(scene, scene.duplicate_of))
        self._out.print(grid)

    def letters(self, evidence: Evidence) -> None:
        """Show the dead letters."""
        grid = _grid("Dead letters", "letter", "runtime", "reason", "detail")
        for letter in evidence.letters:
            grid.add_row(
                _short(letter.id), letter.runtime_id or "", letter.reason.value, letter.detail
            )
        self._out.print(grid)

    def findings(self, findings: Sequence[Finding]) -> None:
        """Show the verdict, a promise a line."""
        self._out.print(Text("\nThe promises, checked on the database:", style="bold"))
        for finding in findings:
            mark, style = ("✓", "green") if finding.kept else ("✗", "bold red")
            self._out.print(Text(f"  {mark} {finding.promise}", style=style))
            self.detail(f"    {finding.shown_by}")

    def look_further(self, stage: Stage, program: Path) -> None:
        """Show the commands with which to look further."""
        self._out.print(Text("\nLook further; the database stays:", style="bold"))
        self._out.print(Text(f"  export MEERKAT_DATABASE_URL={stage.database_url}"))
        for words in (
            "runtimes list",
            f"runtimes show {RUNTIMES[0]}",
            f"inputs list {RUNTIMES[0]}",
            "dead-letters list",
            "verify",
        ):
            self._out.print(Text(f"  {program} {words}"))


def _grid(title: str, *columns: str) -> Table:
    return Table(*columns, title=f"\n{title}", title_justify="left", title_style="bold", box=None)


def _numbers(evidence: Evidence, name: RuntimeId) -> dict[RunId, int]:
    """Number a runtime's runs in the order in which they were requested."""
    ordered = sorted(evidence.runs[name], key=lambda run: (run.requested_at, run.run_id))
    return {run.run_id: number for number, run in enumerate(ordered, 1)}


def _duplicate(scene: Scene, known_as: InputId) -> tuple[str, str, str, str]:
    return scene.runtime_id, _short(scene.draft.id), _short(known_as), scene.about


def _short(name: InputId) -> str:
    """The end of an id: ids made in the same second begin alike."""
    return f"…{str(name)[-8:]}"
