"""State in PostgreSQL in a backup: dumped and put back by its own programs, on a real server."""

import os
import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg
import pyrage
import pytest
from mts1b_deploy.backup import host
from mts1b_deploy.backup.host import databases_of, take_host
from mts1b_deploy.backup.manifest import Backup, PostgresBackup, database_of
from mts1b_deploy.backup.part import recipients_named
from mts1b_deploy.backup.postgres import dump, ensure_dumpable, ensure_restorable, put_back, wrong_with
from mts1b_deploy.errors import BackupError
from mts1b_deploy.layout import Layout
from mts1b_deploy.record import InstallRecord
from mts1b_platform.testing import postgres


@pytest.fixture(autouse=True)
def programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL's programs of the server's own version."""
    monkeypatch.setenv("PATH", f"{postgres.binaries()}{os.pathsep}{os.environ['PATH']}")


def rows(url: str) -> list[int]:
    with closing(psycopg.connect(url)) as connection:
        return [row[0] for row in connection.execute("SELECT fill FROM booked ORDER BY fill")]


def book(url: str, *fills: int) -> None:
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS booked (fill INT PRIMARY KEY)")
        for fill in fills:
            connection.execute("INSERT INTO booked VALUES (%s)", (fill,))


def backup_of(*databases: PostgresBackup) -> Backup:
    return Backup.model_validate(
        {"taken_at": "2026-11-30T00:00:00Z", "profile": "minimal", "server_version": "2.15.1", "streams": ()}
    ).model_copy(update={"postgres": databases})


def test_a_database_comes_back_as_it_was_and_what_it_held_is_kept(
    new_postgres_database: Callable[[], str], tmp_path: Path
):
    url = new_postgres_database()
    book(url, 1, 2)
    key = pyrage.x25519.Identity.generate()
    saved = dump(url, "treasury", tmp_path, recipients_named([str(key.to_public())]))
    assert re.fullmatch(r"postgres-0-test_\d+_\d+\.dump\.age", saved.file)
    assert wrong_with(saved, tmp_path, [key]) is None
    book(url, 3)
    with pytest.raises(BackupError, match="holds 1 tables that would be replaced: --replace"):
        ensure_restorable([saved], replace=False)
    ensure_restorable([saved], replace=True)
    [aside] = put_back(backup_of(saved), tmp_path, [key], tmp_path / "aside", replace=True)
    assert rows(url) == [1, 2]

    there = saved.model_copy(update={"url": new_postgres_database(), "file": aside.name})
    ensure_restorable([there], replace=False)
    put_back(backup_of(there), aside.parent, [], tmp_path, replace=False)
    assert rows(there.url) == [1, 2, 3]


def test_a_dump_that_is_cut_off_is_named_and_changes_nothing(postgres_url: str, tmp_path: Path):
    book(postgres_url, *range(2000))
    saved = dump(postgres_url, None, tmp_path, ())
    path = tmp_path / saved.file
    path.write_bytes(path.read_bytes()[: saved.size // 2])
    assert "pg_restore failed" in (wrong_with(saved, tmp_path, ()) or "")
    book(postgres_url, 5000)
    with pytest.raises(BackupError, match=r"pg_restore failed.*Of the databases none is back"):
        put_back(backup_of(saved), tmp_path, (), tmp_path, replace=True)
    assert rows(postgres_url)[-1] == 5000


def test_what_cannot_be_is_said_before_anything_is_saved(
    new_postgres_database: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    url = new_postgres_database()
    for secret in ("postgresql://me:word@localhost/desk", "host=localhost password = word", url + "?password=word"):
        with pytest.raises(BackupError, match="holds a password"):
            ensure_dumpable([secret])
    gone = re.sub(r"/[^/]*$", "/nothing", url)
    with pytest.raises(BackupError, match=r'database nothing: pg_dump failed: .*"nothing" does not exist'):
        dump(gone, None, tmp_path, ())
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackupError, match=r"there is no pg_dump, .*: install PostgreSQL's client programs"):
        ensure_dumpable([url])


def test_a_database_is_saved_in_its_services_place_in_the_order(
    new_postgres_database: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    layout, urls = Layout(tmp_path / "bus"), [new_postgres_database() for _ in range(3)]
    layout.services.parent.mkdir(parents=True)
    layout.services.write_text(
        f'[services.brokers]\ncommand = "x"\ndatabase = "{urls[0]}"\n'
        f'[services.oms]\ncommand = "x"\n[services.treasury]\ncommand = "x"\ndatabase = "{urls[1]}"\n'
    )
    state, order = tmp_path / "state", list[str]()
    (state / "mts1b-oms").mkdir(parents=True)
    (state / "mts1b-oms" / "fills").touch()
    monkeypatch.setattr(host, "STATE", state)
    record = InstallRecord(
        mts1b_version="1", profile="single", include=("nats",), host="127.0.0.1", port=1, monitor_port=2,
        supervisor="systemd-system", server_version="2.15.1", server_source="", files={},
        services=("brokers", "oms", "treasury"),
    )  # fmt: skip
    found = databases_of(layout, record, [urls[2]])
    assert [each.service for each in found] == [None, "treasury", "brokers"]

    def noted(url: str, service: str | None, *_: object) -> PostgresBackup:
        order.append(service or database_of(url))
        return PostgresBackup(url=url, service=service, file="", size=0, sha256="")

    def seen(path: Path, *_: object) -> bool:
        order.append(path.name)
        return False

    monkeypatch.setattr(host, "dump", noted)
    monkeypatch.setattr(host, "is_database", seen)
    (tmp_path / "saved").mkdir()
    _, dumped = take_host(layout, record, tmp_path / "saved", recipients_named([]), (), [*found])
    assert [each.service for each in dumped] == [None, "treasury", "brokers"]
    wanted = [database_of(urls[2]), "treasury", "fills", "brokers", "services.toml"]
    assert [each for each in order if each in wanted] == wanted
