"""Backup and restore: what was stored, acknowledged and read comes back as it was, on another installation too."""

from pathlib import Path

import pytest
from mts1b_deploy.testing import Machine

pytestmark = pytest.mark.slow(seconds=2)

SPEC_READER = str(Path(__file__).parents[4] / "tests" / "checkouts" / "spec-reader")
"""Declares ``my-consumer``."""

EMIT = """
import asyncio
from mts1b_foundation.samples import ORDER
from mts1b_foundation.subjects import OMS_ORDERS_FILLED
from mts1b_platform.eventbus import connect

async def main():
    async with await connect(service="mts1b-oms") as bus:
        orders = [ORDER.model_copy(update={"idempotency_key": str(n)}) for n in range(%d)]
        await bus.emit_many(OMS_ORDERS_FILLED, orders)

asyncio.run(main())
"""
READ = """
import asyncio
from mts1b_foundation.subjects import OMS_ORDERS_FILLED
from mts1b_platform.eventbus import connect

async def main():
    async with await connect(service="mts1b-treasury") as bus:
        keys = []
        async for event in bus.consume(OMS_ORDERS_FILLED, durable="my-consumer"):
            async with event:
                keys.append(event.payload.idempotency_key)
            if len(keys) == %d:
                break
        print(*keys)

asyncio.run(main())
"""


def test_a_restored_bus_goes_on_where_the_lost_one_was_and_its_backup_is_checked(machine: Machine):
    saved = machine.home / "saved"
    machine.deploy("install", "--profile", "single", "--encrypt", "--websocket-port", "0", "--checkout", SPEC_READER)
    machine.python(EMIT % 10)
    assert machine.python(READ % 10).split() == [str(n) for n in range(10)]
    machine.python(EMIT % 30)  # the first ten are recognised
    made = machine.json("backup", str(saved))
    assert {stream["name"]: stream["state"]["messages"] for stream in made["streams"]}["OMS_ORDERS"] == 30
    assert saved.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in saved.iterdir()} == {0o600}
    assert "is not empty" in machine.deploy("backup", str(saved), code=1).stderr

    error = machine.deploy("restore", str(saved), code=1).stderr
    assert "OMS_ORDERS holds 30 messages that the restore would delete" in error
    # Everything is lost, keys too: a new installation of another kind.
    machine.deploy("uninstall", "--purge")
    machine.deploy("install")
    damage(saved / "OMS_ORDERS.tar.s2")
    assert "missing or damaged" in machine.deploy("restore", str(saved), code=1).stderr
    damage(saved / "OMS_ORDERS.tar.s2")
    machine.deploy("restore", str(saved))
    assert machine.python(READ % 20).split() == [str(n) for n in range(10, 30)]


def test_a_place_of_backups_keeps_the_newest_whole_ones_and_what_is_not_its_own(machine: Machine):
    machine.deploy("install")
    place = machine.home / "backups"
    for name in ("2020-01-01T000000Z", "2020-01-02T000000Z", "2020-01-03T000000Z", "by-hand"):
        (place / name).mkdir(parents=True)
        (place / name / "backup.json").write_text("{}")
    (place / "2020-01-03T000000Z" / "backup.json").unlink()  # it was interrupted
    said = machine.deploy("backup", str(place), "--keep", "2").stderr
    kept = sorted(path.name for path in place.iterdir())
    assert kept[0] == "2020-01-02T000000Z"
    assert kept[2:] == ["by-hand"]
    assert f"saved in {place / kept[1]}, and read back" in said
    assert (place / kept[1] / "OMS_ORDERS.tar.s2").exists()


def damage(path: Path) -> None:
    """Turn one bit; doing it again turns it back."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
