"""State in PostgreSQL: the same ledger as with SQLite, over the death of a service and of the whole run."""

import asyncio
import json
from pathlib import Path

import psutil
import psycopg
import pytest
from mts1b_desk.protocol import SERVICES
from mts1b_desk.state.office import Office
from mts1b_desk.state.postgres import PostgresStore
from psycopg import sql

from ..chaos_desk.desk_chaos import services_of  # noqa: TID252 - tests are in no package that could be named
from .conftest import Desk, Starts

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("streams")]


@pytest.fixture
def databases(postgres_url: str) -> str:
    """A URL with ``{service}`` in it, and a database of this test's own for every service."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for service in SERVICES:
            name = sql.Identifier(f"{connection.info.dbname}_{service}")
            connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
    return postgres_url + "_{service}"


async def test_state_in_postgresql_gives_the_same_ledger_and_is_gone_on_with_by_two_of_each_service(
    desk: Desk, start_desk: Starts, databases: str, quotes_csv: Path, tmp_path: Path
):
    data = ("run", "--data", str(quotes_csv), "--fund", "alpha", "--fund", "beta", "--json")
    calm = await desk(*data)
    assert calm.code == 0, calm.err
    state = str(tmp_path / "state")
    async with start_desk(*data, "--state", state, "--database", databases, "--speed", "15") as process:
        while b"fills, lag" not in (line := await process.stderr.readline()):
            assert line, "the run ended before it traded"
        children = services_of(process.pid)
        children["oms"].kill()
        while b"service oms was killed by signal 9" not in (line := await process.stderr.readline()):
            assert line, "the run ended without a word about the kill"
        process.kill()
        await process.wait()
        psutil.wait_procs(list(children.values()), 60)
    resumed = await desk("run", "--state", state, "--standby", "--json", "--speed", "max")
    assert resumed.code == 0, resumed.err
    assert "Going on with session" in resumed.err
    assert json.dumps(resumed.ledger["funds"]) == json.dumps(calm.ledger["funds"])
    assert not list((tmp_path / "state").glob("*.db"))


async def test_of_instances_that_begin_at_the_same_time_one_is_in_office(databases: str):
    async def in_office(office: Office) -> bool:
        return await asyncio.wait_for(office.take(), 1) is None and await office.confirm()

    for number in range(5):
        url = databases.replace("{service}", "oms")
        stores = [PostgresStore(url, session=f"s{number}", repo="mts1b-oms", actor="test") for _ in range(4)]
        for store in stores:
            await store.connect()
        offices = [Office(store, 60.0) for store in stores]
        await asyncio.gather(*map(in_office, offices), return_exceptions=True)
        assert [await office.confirm() for office in offices].count(True) == 1
        for store in stores:
            await store.close()


async def test_a_database_without_a_place_for_the_service_is_refused(desk: Desk):
    ended = await desk("run", "--quotes", "5", "--database", "postgresql://localhost/one_for_all")
    assert ended.code == 2
    assert "database must hold {service}" in ended.err
