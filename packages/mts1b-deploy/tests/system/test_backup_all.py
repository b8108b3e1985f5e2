"""A backup of everything: what a host held comes back so that nothing is lost and no effect is doubled."""

import asyncio
import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psycopg
import pyrage
import pytest
from mts1b_deploy.backup.take import Wanted, backup
from mts1b_deploy.testing import Machine
from mts1b_foundation.samples import FILL
from mts1b_foundation.subjects import OMS_FILLS_CREATED
from mts1b_platform.eventbus import connect
from mts1b_platform.eventbus.dedupe.sqlite import SqliteDedupe
from mts1b_platform.testing.postgres import binaries

pytestmark = pytest.mark.slow(seconds=4)


async def emit(machine: Machine, *numbers: int) -> None:
    async with await connect(servers=machine.url, service="mts1b-oms") as bus:
        await bus.emit_many(OMS_FILLS_CREATED, [FILL.model_copy(update={"fill_id": f"fill-{n}"}) for n in numbers])


async def book(machine: Machine, state: Path, last: int, durable: str = "books") -> None:
    """Book fills into ``state``, each once, up to the one with the number ``last``."""
    async with (
        await connect(servers=machine.url, service="mts1b-treasury") as bus,
        SqliteDedupe(state / "treasury.db") as store,
    ):
        async for event in bus.consume(OMS_FILLS_CREATED, durable=durable, ack_wait=1):
            async with event, event.once(store) as tx:
                await tx.execute("CREATE TABLE IF NOT EXISTS booked (fill TEXT)")
                await tx.execute("INSERT INTO booked VALUES (?)", (event.payload.fill_id,))
            if event.payload.fill_id == f"fill-{last}":
                return


def booked(state: Path) -> list[str]:
    with closing(sqlite3.connect(state / "treasury.db")) as database:
        return [row[0] for row in database.execute("SELECT fill FROM booked")]


def fills(until: int) -> list[str]:
    return [f"fill-{number}" for number in range(until)]


def test_a_lost_host_comes_back_with_every_event_booked_once(machine: Machine):
    key = pyrage.x25519.Identity.generate()
    (machine.home / "key.txt").write_text(f"# made for a test\n{key}\n")
    (machine.home / "other.txt").write_text(str(pyrage.x25519.Identity.generate()))
    state, saved = machine.home / "state", machine.home / "saved"
    state.mkdir()
    machine.deploy("install")
    asyncio.run(emit(machine, *range(10)))
    asyncio.run(book(machine, state, 4))

    def meanwhile(step: str) -> None:
        if "stream OMS_FILLS " in step:  # the service goes on after its state was saved, and before its stream is
            with ThreadPoolExecutor() as pool:
                pool.submit(asyncio.run, book(machine, state, 9)).result()

    wanted = Wanted(everything=True, also=(state,), recipients=(str(key.to_public()),), on_step=meanwhile)
    made = backup(machine.layout, saved, wanted)
    assert made.host is not None
    assert made.host.databases == 1
    assert {path.suffix for path in saved.iterdir()} == {".json", ".age"}
    assert not any(b"fill-0" in path.read_bytes() or b"SQLite" in path.read_bytes() for path in saved.glob("*.age"))
    asyncio.run(emit(machine, 10, 11, 12))

    wrong = machine.deploy("restore", str(saved), "--drill", "--identity", str(machine.home / "other.txt"), code=1)
    assert "cannot be decrypted" in wrong.stderr
    assert "name the file with the key" in machine.deploy("restore", str(saved), code=1).stderr
    identity = ("--identity", str(machine.home / "key.txt"))
    before = {path: content for path, content in machine.files().items() if "log/" not in path and "nats/" not in path}
    shown = machine.json("restore", str(saved), "--drill", *identity, "--check", "ls {host}/" + str(state))
    assert before.items() <= machine.files().items()
    assert shown["missing"] == {"OMS_FILLS": 3}
    assert [(each["durable"], each["since"], each["until"]) for each in shown["again"]] == [("books", 6, 10)]
    assert (shown["databases"], shown["damage"]) == (1, [])
    assert shown["checks"][0]["said"] == "treasury.db"
    assert not list(machine.home.glob(".drill-*"))

    machine.deploy("uninstall", "--purge")
    shutil.rmtree(state)
    machine.deploy("restore", str(saved), "--all", *identity)
    assert booked(state) == fills(5)
    asyncio.run(emit(machine, 10))
    asyncio.run(book(machine, state, 10))
    assert booked(state) == fills(11)


def test_services_of_a_host_that_was_rolled_back_alone_are_given_what_they_do_not_know(
    machine: Machine, postgres_url: str, record_property: Callable[[str, object], None]
):
    machine.environ["PATH"] = f"{binaries()}{os.pathsep}{machine.environ['PATH']}"
    state, saved = machine.home / "state", machine.home / "saved"
    state.mkdir()
    machine.deploy("install")
    asyncio.run(emit(machine, *range(10)))
    asyncio.run(book(machine, state, 4))
    secret = machine.layout.config.parent / "issuer.nk"
    secret.write_text("a key")
    secret.chmod(0o600)
    with psycopg.connect(postgres_url) as database:
        database.execute("CREATE TABLE mts1b_outbox AS SELECT 1 AS number")
    said = machine.deploy("backup", str(saved), "--all", "--also", str(state), "--database", postgres_url).stderr
    assert "1 keys and certificates are not in it" in said
    asyncio.run(book(machine, state, 9))
    with psycopg.connect(postgres_url) as database:
        database.execute("DROP TABLE mts1b_outbox")
    error = machine.deploy("restore", str(saved), "--all", "--keep-streams", code=1).stderr
    assert f"{state}, {machine.layout.config.parent} would be replaced" in error
    assert booked(state) == fills(10)
    began = time.monotonic()
    done = machine.json("restore", str(saved), "--all", "--keep-streams", "--replace")
    assert [(each["durable"], each["since"], each["until"]) for each in done["set_back"]] == [("books", 6, 10)]
    assert booked(state) == fills(5)
    assert booked(next(Path(each) for each in done["aside"] if "state" in each)) == fills(10)
    with psycopg.connect(postgres_url) as database:
        assert database.execute("SELECT number FROM mts1b_outbox").fetchall() == [(1,)]
    assert secret.read_text() == "a key"  # a key that the backup was made without stays
    asyncio.run(book(machine, state, 9))
    took = f"{time.monotonic() - began:.1f} s from the restore until the books were whole"
    lost = f"{len(set(fills(10)) - set(booked(state)))} of 10 acknowledged lost"
    record_property("drill", ("rolled-back host", lost, took))
    assert booked(state) == fills(10)


def test_a_bus_that_is_rolled_back_under_services_that_are_ahead_does_what_the_guarantees_say(machine: Machine):
    ahead, behind, saved = machine.home / "ahead", machine.home / "behind", machine.home / "saved"
    ahead.mkdir()
    behind.mkdir()
    machine.deploy("install")
    asyncio.run(emit(machine, *range(5)))
    asyncio.run(book(machine, ahead, 4))
    machine.deploy("backup", str(saved))
    asyncio.run(emit(machine, 5, 6, 7))
    asyncio.run(book(machine, ahead, 7))
    machine.deploy("restore", str(saved), "--replace")
    # Whoever had handled what the bus has forgotten keeps it. New events come under its sequences, and are handled.
    # What a producer sends again is stored, and handled once.
    asyncio.run(emit(machine, 6, 8, 9))
    asyncio.run(book(machine, ahead, 9))
    assert booked(ahead) == fills(10)
    # Whoever had not is never given it, unless its producer sends it again.
    asyncio.run(book(machine, behind, 9, durable="late"))
    assert booked(behind) == ["fill-0", "fill-1", "fill-2", "fill-3", "fill-4", "fill-6", "fill-8", "fill-9"]
