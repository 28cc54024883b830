"""Publishers that know the wire and nothing of ours: the examples, run as they stand."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from uuid import UUID

import pytest

from tests.support.commands import ROOT
from tests.support.deployment import Deployment
from tests.support.eventually import eventually
from tests.support.ledger import Ledger

EXAMPLES = ROOT / "docs" / "examples"

pytestmark = pytest.mark.rabbitmq


async def output_of(program: str, *arguments: str, cwd: Path = ROOT, **settings: str) -> str:
    """Run a program to its end; nothing but its output is written."""
    process = await asyncio.create_subprocess_exec(
        program, *arguments, stdout=PIPE, stderr=PIPE, cwd=cwd, env={**os.environ, **settings}
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


async def published(deployment: Deployment, program: str, *arguments: str, cwd: Path) -> UUID:
    """Run an example, which tells the id of its input."""
    said = await output_of(
        *(program, *arguments),
        cwd=cwd,
        MEERKAT_AMQP_URL=deployment.amqp_url,
        MEERKAT_NAMESPACE=deployment.namespace,
    )
    return UUID(said.removeprefix("published ").strip())


@pytest.fixture
async def node_example(tmp_path: Path) -> Path:
    """The example for Node, in a folder of its own with the package that it needs."""
    npm = shutil.which("npm")
    assert npm, "npm is missing: install Node.js (Debian, Ubuntu: apt-get install nodejs npm)"
    folder = tmp_path / "node"
    folder.mkdir()
    for name in ("package.json", "publish.mjs"):
        shutil.copy(EXAMPLES / name, folder)
    await output_of(npm, "install", "--no-package-lock", "--no-audit", "--no-fund", cwd=folder)
    return folder / "publish.mjs"


async def test_plain_pika_publishes_to_a_runtime_that_nobody_declared(
    deployment: Deployment, ledger: Ledger, tmp_path: Path
) -> None:
    """A worker registers the runtime, and the input is admitted under the publisher's id."""
    async with deployment.worker():
        await eventually(lambda: "worker: running" in deployment.log("worker"), 30)
        example = str(EXAMPLES / "publish_pika.py")
        input_id = await published(deployment, sys.executable, example, cwd=tmp_path)
        await eventually(lambda: _admitted(ledger, "assistant-3", input_id), 30)


async def test_node_publishes_to_a_runtime_that_nobody_declared(
    deployment: Deployment, ledger: Ledger, node_example: Path
) -> None:
    """The wire is JSON over AMQP 0-9-1, whatever the language."""
    node = shutil.which("node")
    assert node, "node is missing: install Node.js (Debian, Ubuntu: apt-get install nodejs npm)"
    async with deployment.worker():
        await eventually(lambda: "worker: running" in deployment.log("worker"), 30)
        where = node_example.parent
        input_id = await published(deployment, node, node_example.name, cwd=where)
        await eventually(lambda: _admitted(ledger, "assistant-4", input_id), 30)


async def _admitted(ledger: Ledger, runtime_id: str, input_id: UUID) -> bool:
    return await ledger.ids(runtime_id) == [input_id]
