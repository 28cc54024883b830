"""The pages that are made out of the code are those in the repository."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest

from worker.documentation import ROOT, main, pages, stale
from worker.exits import ExitCode
from worker.settings import catalogue


def test_the_pages_are_fresh() -> None:
    """``make docs`` has been run since settings, metrics or commands changed."""
    assert stale() == []
    assert main(["--check"]) == 0


def test_a_stale_page_is_named(tmp_path: Path) -> None:
    """A page that is missing, and one that differs, are both stale."""
    for name, text in pages().items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    shutil.copytree(ROOT / "docs/examples", tmp_path / "docs/examples")
    assert stale(tmp_path) == []
    (tmp_path / "docs/cli.md").write_text("old")
    (tmp_path / "docs/configuration.md").unlink()
    with (tmp_path / "docs/examples/publish.py").open("a") as example:
        example.write("# changed")
    assert {path.name for path in stale(tmp_path)} == {"cli.md", "configuration.md", "README.md"}


def test_every_setting_and_every_exit_code_is_on_its_page() -> None:
    """Nothing can be set, and no command can end, in a way that is not written down."""
    made = pages()
    for setting in catalogue().values():
        assert f"`{setting.variable}`" in made["docs/configuration.md"]
    for code in ExitCode:
        assert f"| {int(code)} | {code.meaning} |" in made["docs/cli.md"]


@pytest.mark.parametrize("page", list(pages()))
def test_a_page_holds_nothing_of_this_machine(page: str) -> None:
    """A page made here is the page made anywhere."""
    assert socket.gethostname() not in pages()[page]
    assert str(Path.home()) not in pages()[page]
