"""The one transaction under faults: all of it is there afterwards, or none of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from schemas.ids import RuntimeId
from schemas.records import Changes
from store import migrations, tables
from store.errors import StoreUnavailableError
from store.open import open_store
from store.ports import Commit, CommitResult
from store.sql import SqlStore
from tests.support.eventually import eventually
from tests.support.store import (
    ALPHA,
    BETA,
    DATABASES,
    NOW,
    a_letter,
    a_message,
    a_part,
    a_receipt,
    a_run,
    an_empty_store,
    an_input,
    new_id,
    replace,
    taken,
)
from worker.sandbox import PostgreSQL
from worker.sandbox.proxy import Proxy


@pytest.fixture(params=DATABASES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqlStore]:
    """An empty store."""
    async with an_empty_store(request, tmp_path) as opened:
        yield opened


async def contents(store: SqlStore) -> dict[str, int]:
    """Count the rows of every table."""
    counts = {}
    async with store.database.reading() as connection:
        for table in tables.metadata.sorted_tables:
            query = select(func.count()).select_from(table)
            counts[table.name] = (await connection.execute(query)).scalar_one()
    return counts


def everything(runtime_id: RuntimeId, epoch: int) -> Commit:
    """Make a part that writes to every table that a commit writes to."""
    record = an_input()
    run = a_run(record)
    image = f'{{"blob_id":"sha256:{"a" * 64}"}}'.encode()
    return Commit(
        runtime_id,
        epoch,
        Changes(inserted=(record,), runs=(run,), receipts=(a_receipt(run),)),
        payloads={record.input_id: image},
        outbox=(a_message(runtime_id),),
        dead_letters=(a_letter(runtime_id),),
    )


async def test_a_refused_part_leaves_no_trace_in_any_table(store: SqlStore) -> None:
    epoch, other = await taken(store), await taken(store, BETA)
    first = everything(ALPHA, epoch)
    assert await store.commit([first]) == [CommitResult.COMMITTED]
    before = await contents(store)
    twice = replace(everything(ALPHA, epoch), changes=first.changes)
    late = everything(BETA, other + 1)
    assert await store.commit([twice, late]) == [CommitResult.FAILED, CommitResult.FENCED]
    assert await contents(store) == before


async def test_what_has_no_json_fails_alone(store: SqlStore) -> None:
    epoch, other = await taken(store), await taken(store, BETA)
    odd = Commit(ALPHA, epoch, outbox=(a_message(properties={"a": object()}),))
    good = a_part(BETA, other, an_input())
    assert await store.commit([odd, good]) == [CommitResult.FAILED, CommitResult.COMMITTED]


async def test_free_text_that_databases_refuse_does_not_fail_a_commit(store: SqlStore) -> None:
    epoch = await taken(store)
    odd = "nul \x00 and \ud800"
    run = a_run(an_input(), error=odd)
    letter = a_letter(detail=odd, source_queue=odd, message_id=odd, type=odd)
    message = a_message(routing_key=odd, properties={"odd": odd, "list": [odd]})
    part = Commit(
        ALPHA,
        epoch,
        Changes(inserted=(an_input(traceparent=odd),), runs=(run,)),
        outbox=(message,),
        dead_letters=(letter,),
    )
    assert await store.commit([part]) == [CommitResult.COMMITTED]
    (found,) = await store.unpublished(before=NOW.replace(year=2100), limit=1)
    assert found.properties["list"] == [found.properties["odd"]] == ["nul \ufffd and ?"]


async def test_a_number_that_the_column_cannot_hold_fails_alone(store: SqlStore) -> None:
    epoch, other = await taken(store), await taken(store, BETA)
    parts = [a_part(ALPHA, epoch, an_input(2**70)), a_part(BETA, other, an_input())]
    assert await store.commit(parts) == [CommitResult.FAILED, CommitResult.COMMITTED]


@pytest.mark.parametrize("culprits", [{0}, {9}, {3, 4}, set(range(10))])
async def test_culprits_are_found_wherever_they_stand(store: SqlStore, culprits: set[int]) -> None:
    names = [RuntimeId(f"runtime-{number}") for number in range(10)]
    epochs = [await taken(store, name) for name in names]
    twin = new_id()
    parts = []
    for place, (name, epoch) in enumerate(zip(names, epochs, strict=True)):
        records = [an_input(0, input_id=twin), an_input(1)]
        if place in culprits:
            records.append(an_input(2, input_id=twin))
        parts.append(a_part(name, epoch, *records))
    results = await store.commit(parts)
    failed = {place for place, result in enumerate(results) if result is CommitResult.FAILED}
    assert failed == culprits
    assert (await contents(store))["inputs"] == 2 * (10 - len(culprits))


async def test_commits_of_many_workers_to_shared_runtimes_fence_all_but_the_latest(
    store: SqlStore,
) -> None:
    names = [RuntimeId(f"runtime-{number}") for number in range(5)]
    epochs = [{name: await taken(store, name) for name in names} for _ in range(4)]

    async def work(mine: dict[RuntimeId, int], turn: int) -> list[CommitResult]:
        order = names if turn % 2 else names[::-1]
        return await store.commit([a_part(name, mine[name], an_input(turn)) for name in order])

    turns = [work(mine, turn) for turn in range(3) for mine in epochs]
    results = await asyncio.gather(*turns)
    for place, result in enumerate(results):
        is_latest = place % 4 == 3
        assert set(result) == {CommitResult.COMMITTED if is_latest else CommitResult.FENCED}


# --- a database that fails -----------------------------------------------------------------------


async def test_a_full_disk_is_unavailable_writes_nothing_and_passes(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'store.db'}"
    await migrations.migrate(url)
    store = await open_store(url)
    epoch = await taken(store)
    before = await contents(store)
    async with store.database.writing() as connection:
        pages = (await connection.execute(text("PRAGMA page_count"))).scalar_one()
        await connection.execute(text(f"PRAGMA max_page_count = {pages + 20}"))
    record = an_input()
    part = replace(a_part(ALPHA, epoch, record), payloads={record.input_id: b"x" * 1_000_000})
    with pytest.raises(StoreUnavailableError, match="full"):
        await store.commit([part])
    assert await contents(store) == before
    async with store.database.writing() as connection:
        await connection.execute(text("PRAGMA max_page_count = 1000000"))
    assert await store.commit([part]) == [CommitResult.COMMITTED]
    await store.close()


async def test_a_file_that_another_process_keeps_locked_is_unavailable(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'store.db'}"
    await migrations.migrate(url)
    store, other = await open_store(url), await open_store(url)
    epoch = await taken(store)
    async with store.database.writing() as connection:
        await connection.execute(text("PRAGMA busy_timeout = 50"))
    async with other.database.writing():
        with pytest.raises(StoreUnavailableError, match="locked"):
            await store.commit([Commit(ALPHA, epoch)])
        assert await store.read(ALPHA) is not None  # readers do not wait for a writer
    assert await store.commit([Commit(ALPHA, epoch)]) == [CommitResult.COMMITTED]
    await store.close()
    await other.close()


_KILL_WHO_WAITS = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


@pytest.mark.postgres
@pytest.mark.parametrize("store", ["postgresql"], indirect=True)
async def test_a_connection_killed_in_mid_commit_writes_nothing(store: SqlStore) -> None:
    epoch = await taken(store)
    before = await contents(store)
    part = everything(ALPHA, epoch)
    async with store.database.writing() as other:
        # A receipt that is about to be there holds up the commit when its inputs are written.
        row = store._commits.codec.receipt(ALPHA, part.changes.receipts[0])
        await other.execute(tables.receipts.insert().values(row))
        commit = asyncio.create_task(store.commit([part]))

        async def killed() -> bool:
            async with store.database.reading() as third:
                return bool((await third.execute(_KILL_WHO_WAITS)).all())

        await eventually(killed, promise="the commit waits for the receipt")
        with pytest.raises(StoreUnavailableError):
            await commit
        await other.rollback()
    assert await contents(store) == before
    assert await store.commit([part]) == [CommitResult.COMMITTED]


@pytest.fixture
async def restartable(private_postgres_url: str) -> AsyncIterator[SqlStore]:
    """An empty store on a server of the test's own."""
    await migrations.migrate(private_postgres_url)
    store = await open_store(private_postgres_url)
    yield store
    await store.close()


@pytest.mark.postgres
async def test_a_server_that_was_killed_is_unavailable_and_serves_again_after_its_restart(
    private_postgres: PostgreSQL, restartable: SqlStore
) -> None:
    epoch = await taken(restartable)
    first, second = a_part(ALPHA, epoch, an_input(0)), a_part(ALPHA, epoch, an_input(1))
    assert await restartable.commit([first]) == [CommitResult.COMMITTED]
    await asyncio.to_thread(private_postgres.kill)
    for _ in range(3):
        with pytest.raises(StoreUnavailableError):
            await restartable.commit([second])
    await asyncio.to_thread(private_postgres.restart)
    assert await restartable.commit([second]) == [CommitResult.COMMITTED]
    stored = await restartable.read(ALPHA)
    assert stored is not None
    assert [record.sequence for record in stored.inputs] == [0, 1]


async def test_processes_that_share_a_file_wait_for_each_other(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'store.db'}"
    await migrations.migrate(url)
    stores = [await open_store(url) for _ in range(3)]
    names = [RuntimeId(f"runtime-{number}") for number in range(len(stores))]

    async def work(store: SqlStore, name: RuntimeId) -> list[CommitResult]:
        epoch = await taken(store, name)
        parts = [a_part(name, epoch, an_input(turn)) for turn in range(25)]
        return [result for part in parts for result in await store.commit([part])]

    results = await asyncio.gather(*map(work, stores, names))
    assert results == [[CommitResult.COMMITTED] * 25] * len(stores)
    for store in stores:
        await store.close()


async def test_a_cancelled_commit_is_whole_or_not_at_all_and_leaves_the_store_at_work(
    store: SqlStore,
) -> None:
    epoch = await taken(store)
    for turn in range(12):
        records = [an_input(turn * 1000 + number) for number in range(200)]
        task = asyncio.create_task(store.commit([a_part(ALPHA, epoch, *records)]))
        for _ in range(turn):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        count = (await contents(store))["inputs"]
        assert (count - turn) % 200 == 0
        last = a_part(ALPHA, epoch, an_input(900_000 + turn))
        assert await store.commit([last]) == [CommitResult.COMMITTED]


@pytest.mark.postgres
@pytest.mark.parametrize("store", ["postgresql"], indirect=True)
async def test_a_server_that_falls_silent_is_unavailable_and_serves_again_when_it_speaks(
    store: SqlStore,
) -> None:
    await taken(store)
    url = store.database.writer.url.render_as_string(hide_password=False)
    async with Proxy.before(url) as proxy:
        behind = await open_store(proxy.address(url), patience=0.5)
        epoch = await taken(behind)
        proxy.stall()
        with pytest.raises(StoreUnavailableError):
            await behind.commit([a_part(ALPHA, epoch, an_input())])
        await proxy.heal()
        await eventually(lambda: _serves(behind), promise="the store serves again")
        await behind.close()


@pytest.mark.postgres
@pytest.mark.parametrize("store", ["postgresql"], indirect=True)
@pytest.mark.parametrize("sqlstate", ["53100", "53200", "53300", "57P01", "57P03", "58030"])
async def test_a_server_without_room_is_unavailable_and_nobody_is_a_culprit(
    store: SqlStore, sqlstate: str
) -> None:
    """Disk full, out of memory or of connections, shutting down, starting up, an I/O error."""
    epoch = await taken(store)
    async with store.database.writing() as connection:
        await connection.execute(text(_TROUBLE.format(sqlstate=sqlstate)))
        await connection.execute(text(_IN_TROUBLE))
    part = a_part(ALPHA, epoch, an_input())
    with pytest.raises(StoreUnavailableError):
        await store.commit([part])
    async with store.database.writing() as connection:
        await connection.execute(text("DROP TRIGGER trouble ON inputs"))
    assert await store.commit([part]) == [CommitResult.COMMITTED]


@pytest.mark.postgres
@pytest.mark.parametrize("store", ["postgresql"], indirect=True)
async def test_a_store_whose_server_is_silent_is_closed_all_the_same(store: SqlStore) -> None:
    """A worker that is told to stop must end, also while its database says nothing."""
    url = store.database.writer.url.render_as_string(hide_password=False)
    async with Proxy.before(url) as proxy:
        behind = await open_store(proxy.address(url))
        await taken(behind)
        proxy.stall()
        async with asyncio.timeout(10):
            await behind.close()


_TROUBLE = """
CREATE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = '{sqlstate}'; END $$
"""
_IN_TROUBLE = "CREATE TRIGGER trouble BEFORE INSERT ON inputs EXECUTE FUNCTION trouble()"


@pytest.mark.postgres
@pytest.mark.parametrize("store", ["postgresql"], indirect=True)
async def test_a_server_out_of_connections_is_unavailable_and_serves_again(store: SqlStore) -> None:
    await taken(store)
    role = f"role_{new_id().hex}"
    async with store.database.writing() as connection:
        for statement in (
            f"CREATE ROLE {role} LOGIN PASSWORD 'x' CONNECTION LIMIT 1",
            f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}",
        ):
            await connection.execute(text(statement))
    url = store.database.writer.url.set(username=role, password="x")
    limited = await open_store(url.render_as_string(hide_password=False))
    async with limited.database.reading() as connection:
        await connection.execute(text("SELECT 1"))
        with pytest.raises(StoreUnavailableError):
            await taken(limited)
    await limited.database.reader.dispose()
    assert await taken(limited) == 2
    await limited.close()
    async with store.database.writing() as connection:
        await connection.execute(text(f"DROP OWNED BY {role}"))
        await connection.execute(text(f"DROP ROLE {role}"))


async def _serves(store: SqlStore) -> bool:
    try:
        return await taken(store) > 0
    except StoreUnavailableError:
        return False
