"""`mts1b archive` on a real server: what streams held is found when they have forgotten it, and changes are named."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from mts1b_foundation.samples import FILL, ORDER
from mts1b_foundation.subjects import OMS_FILLS_CREATED, OMS_ORDERS_CREATED
from mts1b_operations.archive.events_file import read_events
from mts1b_operations.archive.manifest import ArchiveError, manifests
from mts1b_operations.archive.run import Days
from mts1b_operations.monitor import Monitor, MonitorSettings
from mts1b_platform.cli import run
from mts1b_platform.eventbus import EventBus, apply_streams
from mts1b_platform.eventbus.history.recorded import Recorded
from mts1b_platform.eventbus.jetstream.api import js_api
from mts1b_platform.eventbus.protocol.message import WireMsg
from mts1b_platform.observability.audit import AuditLog
from mts1b_platform.server import NatsServer

Command = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
def archive(nats_server: NatsServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """``mts1b archive VERB tmp_path/archive …``: exit code, standard output and error."""

    async def call(verb: str, *words: str) -> tuple[int, str, str]:
        servers = ["--servers", nats_server.url] if verb in ("run", "status") else []
        code = await asyncio.to_thread(run, ["archive", verb, str(tmp_path / "archive"), *words, *servers])
        out, error = capsys.readouterr()
        return code, out, error

    return call


async def order(bus: EventBus, *numbers: int) -> None:
    for number in numbers:
        same = {"order_id": f"o{number}", "idempotency_key": f"k{number}"}
        await bus.emit(OMS_ORDERS_CREATED, ORDER.model_copy(update=same))


def change(path: Path, content: bytes | None) -> bytes:
    """Write ``content``, or delete the file; what it held before."""
    before = path.read_bytes() if path.exists() else b""
    path.unlink() if content is None else path.write_bytes(content)
    return before


def files_in(place: Path) -> dict[Path, bytes]:
    return {
        path.relative_to(place): path.read_bytes()
        for path in place.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


async def orders_found(archive: Command, *words: str) -> list[str]:
    code, out, _ = await archive("find", "subject:oms.orders.> fund:alpha", "--json", *words)
    assert code == 0
    return [json.loads(line)["payload"]["order_id"] for line in out.splitlines()]


async def test_all_orders_of_a_fund_are_found_when_their_stream_has_long_forgotten_them(
    bus: EventBus, archive: Command, tmp_path: Path
):
    log = tmp_path / "log"
    copy = ("--audit", str(log), "--copy-to", str(tmp_path / "copy"))
    with AuditLog(log, "mts1b-act") as audit:
        audit.record("action", what="halt")
    await order(bus, 0, 1)
    await bus.emit(OMS_FILLS_CREATED, FILL)
    odd = b'{"fund_id": "\xff"}'
    await bus.jetstream().publish("mts.v1.oms.fills.created", odd)
    assert (await archive("run", *copy))[0] == 0
    await order(bus, 2, 3)
    code, _, error = await archive("status", "--warn", "200")
    assert (code, "OMS_ORDERS: 2 messages are not archived" in error) == (1, True)
    assert (await archive("status"))[0] == 0
    assert (await archive("run", *copy))[0] == 0
    await js_api(bus, "STREAM.DELETE.OMS_ORDERS")
    await apply_streams(bus)
    await order(bus, 4)  # under a sequence that had another order
    assert (await archive("run", *copy))[0] == 0
    assert (await archive("run", *copy))[0] == 0  # nothing is new

    assert await orders_found(archive) == ["o0", "o1", "o2", "o3", "o4"]
    assert await orders_found(archive, "--limit", "1") == ["o0"]
    assert await orders_found(archive, "--to", "1h") == []
    code, out, _ = await archive("verify", "--json")
    whole = json.loads(out)
    assert (code, whole["manifests"], whole["events"], whole["chains"], whole["problems"]) == (0, 4, 7, 1, [])
    fills = next((tmp_path / "archive" / "OMS_FILLS").rglob("*.parquet"))
    assert [each.wire.payload for batch in read_events(fills, "OMS_FILLS") for each in batch][1] == odd
    assert files_in(tmp_path / "copy") == files_in(tmp_path / "archive")


async def test_what_left_its_stream_before_it_was_archived_is_told_once_and_for_all(bus: EventBus, archive: Command):
    await order(bus, 0, 1)
    assert (await archive("run"))[0] == 0
    await order(bus, *range(2, 7))
    await js_api(bus, "STREAM.PURGE.OMS_ORDERS", {"keep": 1})
    code, _, error = await archive("run")
    assert (code, "OMS_ORDERS: sequences 3 to 6 had left the stream" in error) == (1, True)
    assert (await archive("run"))[0] == 0
    assert await orders_found(archive) == ["o0", "o1", "o6"]
    code, out, _ = await archive("verify")
    assert (code, "OMS_ORDERS: sequences 3 to 6 had left the stream before" in out) == (1, True)


async def test_every_change_of_an_archive_is_named(bus: EventBus, archive: Command, tmp_path: Path):
    place, log = tmp_path / "archive", tmp_path / "log"
    for number in range(3):
        await order(bus, number)
        with AuditLog(log, "mts1b-act") as audit:
            audit.record("action", what=str(number))
        assert (await archive("run", "--audit", str(log)))[0] == 0

    async def named(path: Path, content: bytes | None) -> str:
        before = change(path, content)
        code, out, _ = await archive("verify")
        change(path, before)
        assert code == 1
        return out

    events = sorted((place / "OMS_ORDERS").rglob("*.parquet"))
    assert "it is not as it was written" in await named(events[0], events[1].read_bytes())
    assert "No such file" in await named(events[2], None)
    second = place / "manifests" / "000002.json"
    assert "manifest 2 is missing: 3 comes next" in await named(second, None)
    changed = second.read_bytes().replace(b'"events": 1', b'"events": 2')
    assert "manifest 3 does not follow the one before it" in await named(second, changed)
    [chain] = (place / "audit").rglob("000001.jsonl")
    assert "its end was cut off or replaced" in await named(chain, b"".join(chain.read_bytes().splitlines(True)[:2]))
    assert (await archive("verify"))[0] == 0
    with pytest.raises(ArchiveError, match="is no archive"):
        list(manifests(log))


def test_a_day_is_a_file(tmp_path: Path):
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    stamps = [f"{(noon + timedelta(hours=10 * number)).isoformat()}".replace("+00:00", "Z") for number in range(5)]
    batch = [
        Recorded("S", number, stamp, WireMsg(b"mts.v1.a.b.c", b"", b"", b"%d" % number))
        for number, stamp in enumerate(stamps, 1)
    ]
    days = Days(tmp_path, "S", "2026-01-01T00:00:00Z")
    files = [*days.write(batch[:3]), *days.write(batch[3:]), *days.end()]
    assert [(file.path.split("/")[1], file.first, file.last, file.events) for file in files] == [
        ("2026-03-01", 1, 2, 2),
        ("2026-03-02", 3, 4, 2),
        ("2026-03-03", 5, 5, 1),
    ]
    back = [each for file in files for part in read_events(tmp_path / file.path, "S") for each in part]
    assert back == batch


async def test_the_monitor_tells_what_a_stream_is_about_to_lose_and_an_archive_that_it_cannot_read(
    bus: EventBus, archive: Command, tmp_path: Path
):
    await apply_streams(bus)
    await order(bus, 1)
    place = tmp_path / "archive"
    watch = {"warning": 1_000, "clear": 2_000, "less_is_worse": True, "clear_hold": 0}
    settings = MonitorSettings.model_validate({"archive": place, "thresholds": {"archive_behind": watch}})
    (raised,) = await Monitor(bus, settings, sinks=()).look()
    assert (raised.name, raised.target) == ("archive_behind", "OMS_ORDERS")
    assert "1 messages of OMS_ORDERS are not in the archive" in raised.summary
    assert (await archive("run"))[0] == 0
    assert {path.stat().st_mode & 0o777 for path in (place / "manifests").iterdir()} == {0o644}
    assert await Monitor(bus, settings, sinks=()).look() == []

    code, _, error = await archive("run", "--audit", str(tmp_path / "gone"))
    assert (code, f"there is no audit log {tmp_path / 'gone'}" in error.replace("\n", " ")) == (1, True)

    next((place / "manifests").iterdir()).write_text("{")
    (unread,) = await Monitor(bus, settings, sinks=()).look()
    assert (unread.name, unread.severity.value) == ("archive_age", "critical")
    assert "cannot be read" in unread.summary
