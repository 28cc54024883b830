"""The play: publishes the story, kills the worker half way, starts another, and judges the end."""

from __future__ import annotations

import secrets
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Final

from store.blobs import DirectoryBlobStore
from store.open import open_store
from store.sql import SqlStore
from worker.broker.link import Link
from worker.broker.publisher import Outgoing, Publisher
from worker.broker.topology import Topology
from worker.client import Client
from worker.demo.evidence import Evidence, until
from worker.demo.screen import Screen
from worker.demo.stage import Stage
from worker.demo.story import MALFORMED, RUNTIMES, Scene, Story, story
from worker.demo.verdict import Finding, judge, waits_for_nothing

DIRECTORY: Final = Path("meerkat-demo")
SETTLE_SECONDS: Final = 40.0
SOME: Final = 4
"""Ended inputs at which the first worker is killed: it is in the middle of its work then."""


async def play(amqp_url: str, screen: Screen) -> bool:
    """Play it all; tells whether every promise was kept."""
    began = monotonic()
    stage = _set(amqp_url)
    script = story()
    await stage.migrate()
    store = await open_store(stage.database_url)
    try:
        evidence = await _acts(stage, script, store, screen)
        findings = await judge(script, evidence, DirectoryBlobStore(stage.blobs))
    finally:
        await store.close()
    _show(stage, script, evidence, findings, screen)
    screen.say(f"Done in {monotonic() - began:.0f} s.")
    return all(finding.kept for finding in findings)


def _set(amqp_url: str) -> Stage:
    """Clear the directory and take names on the broker that nobody else has."""
    directory = DIRECTORY.absolute()
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return Stage(directory, amqp_url, f"demo-{secrets.token_hex(3)}")


async def _acts(stage: Stage, script: Story, store: SqlStore, screen: Screen) -> Evidence:
    async with Client(stage.amqp_url, namespace=stage.namespace) as client, stage.executor():
        screen.say("An executor is running: the echo agent, in a process of its own.")
        async with stage.worker("worker-1") as first:
            screen.say(f"Worker 1 is running, process {first.pid}.")
            await _publish(client, script.acts[0], screen)
            await _publish_malformed(stage, script, screen)
            await until(
                store,
                RUNTIMES,
                lambda seen: seen.settled >= SOME,
                seconds=SETTLE_SECONDS,
                seen=lambda _: None,
            )
            first.kill()
            await first.wait()
            screen.say(f"Worker 1 was killed (kill -9 {first.pid}) in the middle of its work.")
        await _publish(client, script.acts[1], screen)
        screen.detail("no worker is running: the messages wait on the broker")
        async with stage.worker("worker-2") as second:
            screen.say(f"Worker 2 is running, process {second.pid}.")
            return await _settled(script, store, screen)


async def _settled(script: Story, store: SqlStore, screen: Screen) -> Evidence:
    shown = -1

    def show(seen: Evidence) -> None:
        nonlocal shown
        if seen.settled != shown:
            shown = seen.settled
            screen.detail(f"{shown} of {len(seen.all_inputs)} inputs have come to their end")

    return await until(
        store,
        RUNTIMES,
        lambda seen: waits_for_nothing(script, seen),
        seconds=SETTLE_SECONDS,
        seen=show,
    )


async def _publish(client: Client, scenes: Sequence[Scene], screen: Screen) -> None:
    # A duplicate must travel on its own: a batch does not hold one id twice in flight.
    for scene in scenes:
        await client.publish(scene.runtime_id, scene.draft)
    screen.say(f"{len(scenes)} messages were published, each confirmed by the broker.")


async def _publish_malformed(stage: Stage, script: Story, screen: Screen) -> None:
    topology = Topology(stage.namespace)
    properties = {"message_id": str(script.malformed_id), "type": "input"}
    async with Link(stage.amqp_url, "demo") as link, Publisher(link) as publisher:
        await publisher.publish(Outgoing(topology.inbox, RUNTIMES[0], MALFORMED, properties))
    screen.say("One message whose id is no UUID was published past the client's checks.")


def _show(
    stage: Stage, script: Story, evidence: Evidence, findings: Sequence[Finding], screen: Screen
) -> None:
    for name in RUNTIMES:
        screen.runtime(name, script, evidence)
    screen.receipts(evidence)
    screen.duplicates(script)
    screen.letters(evidence)
    screen.findings(findings)
    screen.look_further(stage, Path(sys.argv[0]))
