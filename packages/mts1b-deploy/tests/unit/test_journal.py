"""What is written can be taken back, whole, and refusals are explained."""

import os
import threading
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from mts1b_deploy.errors import Busy, PrefixError
from mts1b_deploy.journal import Journal, explained
from mts1b_deploy.layout import Layout
from mts1b_deploy.lock import prefix_lock
from mts1b_deploy.mts1b_toml import Endpoint, fresh, merged

HERE = Endpoint("minimal", "nats://127.0.0.1:4222", "http://127.0.0.1:8222")
THERE = Endpoint("minimal", "nats://127.0.0.1:5222", "http://127.0.0.1:9222")


def test_a_journal_that_is_not_committed_puts_everything_back(tmp_path: Path):
    old = tmp_path / "old"
    old.write_text("before")
    old.chmod(0o600)
    with Journal() as journal:
        journal.write(old, b"after", 0o644)
        journal.write(tmp_path / "new" / "deep" / "file", b"x")
        assert old.read_text() == "after"
    assert old.read_text() == "before"
    assert old.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_undoing_goes_backwards_and_over_an_undo_that_fails():
    done: list[str] = []

    def fails() -> None:
        done.append("fails")
        raise PrefixError("cannot")

    with Journal() as journal:
        journal.on_rollback(lambda: done.append("first"))
        journal.on_rollback(fails)
        journal.on_rollback(lambda: done.append("last"))
    assert done == ["last", "fails", "first"]


def test_a_committed_journal_keeps_everything(tmp_path: Path):
    with Journal() as journal:
        journal.write(tmp_path / "new" / "file", b"x", 0o640)
        journal.commit()
    assert (tmp_path / "new" / "file").read_bytes() == b"x"
    assert (tmp_path / "new" / "file").stat().st_mode & 0o777 == 0o640
    assert len(list((tmp_path / "new").iterdir())) == 1


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        (PermissionError(13, "Permission denied"), "no permission to write /opt/x: change its owner"),
        (OSError(28, "No space left on device"), r"/opt/x cannot be written \(No space left on device\)"),
        (NotADirectoryError(20, "Not a directory", "/opt"), "/opt is in the way of /opt/x"),
    ],
)
def test_the_systems_refusals_are_explained_with_a_remedy(refusal: OSError, said: str):
    with pytest.raises(PrefixError, match=said + ".*--prefix"), explained(Path("/opt/x")):
        raise refusal


def test_the_lock_is_for_one_and_names_its_holder(tmp_path: Path):
    layout = Layout(tmp_path / "p")
    told: list[str] = []
    with prefix_lock(layout):
        with (
            pytest.raises(Busy, match=f"pid {os.getpid()}"),
            prefix_lock(layout, timeout=0.1, on_wait=told.append),
        ):
            raise AssertionError("two hold the lock")
        assert len(told) == 1
    assert not layout.prefix.exists()


def test_a_waiting_locker_gets_its_turn_although_the_file_was_removed(tmp_path: Path):
    layout = Layout(tmp_path / "p")
    waiting, entered = threading.Event(), threading.Event()

    def second() -> None:
        with prefix_lock(layout, timeout=60, on_wait=lambda _: waiting.set()):
            # What counts is a lock that a third one would see.
            with pytest.raises(Busy), prefix_lock(layout, timeout=0):
                pass
            entered.set()

    thread = threading.Thread(target=second)
    with prefix_lock(layout):
        thread.start()
        assert waiting.wait(60)
    thread.join(60)
    assert entered.is_set()


def test_a_fresh_file_is_what_a_merge_leaves_alone():
    assert merged(Path("f"), fresh(HERE), HERE, None) == (fresh(HERE), True)


def test_a_moved_endpoint_is_followed_only_where_it_was_ours():
    text = (
        fresh(HERE).replace('4222"]', '4222", "nats://other:4222"]').replace("http://127.0.0.1:8222", "http://mine:1")
    )
    moved, leads_here = merged(Path("f"), text, THERE, HERE)
    assert leads_here
    assert 'servers = ["nats://127.0.0.1:5222", "nats://other:4222"]' in moved
    assert "http://mine:1" in moved
    assert merged(Path("f"), text, THERE, None) == (text, False)


def test_checkouts_are_written_into_a_file_that_has_none_and_follow_the_next_install():
    with_bells = replace(HERE, checkouts=("/bells",))
    text, leads_here = merged(Path("f"), fresh(HERE), with_bells, HERE)
    assert leads_here
    assert tomllib.loads(text)["checkouts"] == ["/bells"]
    moved, _ = merged(Path("f"), text, replace(HERE, checkouts=("/gongs",)), with_bells)
    assert tomllib.loads(moved)["checkouts"] == ["/gongs"]
    assert tomllib.loads(fresh(with_bells))["checkouts"] == ["/bells"]
