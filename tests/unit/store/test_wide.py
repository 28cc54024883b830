"""Wide statements find their rows as those of one row do: by an index."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

from store.engine import database
from store.wide import WIDTHS, widened
from store.writes import Statements, Write
from tests.support.migrated import migrated_file

VALUES = re.compile(r"SCAN (v|\d+-ROW VALUES CLAUSE|\d+ CONSTANT ROWS)$")
"""The rows that a statement brings along: all of them are wanted."""


@pytest.mark.parametrize("write", Write)
def test_no_wide_statement_walks_a_table(write: Write, tmp_path: Path) -> None:
    """It would take longer with every row that is there, inside the one writer's transaction."""
    file = tmp_path / "store.db"
    text = Statements(database(migrated_file(file))).text(write)
    connection = sqlite3.connect(file)
    for width in (1, *WIDTHS):
        rows = [tuple(f"{row}" for _ in range(text.count("?"))) for row in range(width)]
        for wide, values in widened(text, rows):
            plan = [step for *_, step in connection.execute(f"EXPLAIN QUERY PLAN {wide}", values)]
            walks = [step for step in plan if step.startswith("SCAN") and not VALUES.match(step)]
            assert walks == [], wide
    connection.close()
