"""Who may import what, where import-linter has no word for it."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from store import migrations

_ROOT = Path(__file__).parents[2]
_DRIVER = sorted((_ROOT / "worker/driver").rglob("*.py"))

# The driver is a function of its arguments: no clock, no chance, no loop, no file.
_ALLOWED = {
    "binascii",
    "collections",
    "dataclasses",
    "datetime",
    "enum",
    "functools",
    "hashlib",
    "heapq",
    "itertools",
    "math",
    "operator",
    "tomllib",
    "types",
    "typing",
    "uuid.UUID",  # to read one; never to make one
    "__future__",
    "msgspec",
    "schemas",
    "worker.driver",
}


# What reads a clock or a file by way of an innocent name.
_IMPURE = {"now", "utcnow", "today", "open", "input", "print", "__import__"}


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, level=0) if module is not None:
                yield from (f"{module}.{alias.name}" for alias in node.names)
            case _:
                continue


def _is_allowed(name: str) -> bool:
    return any(name == allowed or name.startswith(f"{allowed}.") for allowed in _ALLOWED)


def test_there_is_a_driver_to_look_at() -> None:
    """The rule below is not about an empty folder."""
    assert _DRIVER


@pytest.mark.parametrize("path", _DRIVER, ids=lambda path: path.name)
def test_the_driver_imports_the_vocabulary_and_pure_modules_only(path: Path) -> None:
    """Nothing of the worker but the driver itself, and nothing that could do I/O."""
    assert [name for name in _imported(path) if not _is_allowed(name)] == []


@pytest.mark.parametrize("path", _DRIVER, ids=lambda path: path.name)
def test_the_driver_has_no_coroutine(path: Path) -> None:
    """It decides; somebody else waits."""
    asynchronous = ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not any(isinstance(node, asynchronous) for node in ast.walk(tree))


@pytest.mark.parametrize("path", _DRIVER, ids=lambda path: path.name)
def test_the_driver_reads_no_clock_and_no_file(path: Path) -> None:
    """A value of a date is data; asking for today is not."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    called = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    names = {node.attr if isinstance(node, ast.Attribute) else ast.unparse(node) for node in called}
    assert names & _IMPURE == set()


# What a worker does before it talks to a broker, with the blobs in a directory, as mostly.
_START = """
import asyncio
import sys

import worker.cli.run
from store.blobs import open_blobs
from store.open import open_store

async def start():
    open_blobs("blobs")
    await (await open_store(sys.argv[1])).close()

asyncio.run(start())
"""


def _loaded(program: str, *arguments: str) -> set[str]:
    """Run a program in an interpreter of its own and tell what packages it has imported."""
    tell = "import sys; print(*sys.modules)"
    command = [sys.executable, "-c", f"{program}\n{tell}", *arguments]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_the_command_line_alone_waits_for_no_library_of_its_commands() -> None:
    """``--help`` and ``--version`` answer at once."""
    found = _loaded("import worker.cli")
    assert "typer" in found
    assert found & {"aio_pika", "alembic", "minio", "sqlalchemy", "structlog", "uvicorn"} == set()


def test_a_worker_starts_without_what_few_workers_need(tmp_path: Path) -> None:
    """S3's client is for blobs in S3, Alembic for a schema that is to be changed."""
    url = f"sqlite+aiosqlite:///{tmp_path}/meerkat.db"
    migrations.upgrade(url)
    found = _loaded(_START, url)
    assert "sqlalchemy" in found
    assert found & {"alembic", "minio"} == set()
