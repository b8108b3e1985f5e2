"""Room on disks: what is told of it, and when. Time and disks are parameters."""

from pathlib import Path

import pytest
from mts1b_foundation.operations import AlertSeverity
from mts1b_operations.monitor.disks import Disks
from mts1b_operations.monitor.reading import Watch
from mts1b_operations.monitor.settings import DEFAULTS
from mts1b_platform.disk_room import DiskRoom

GB = 1_000_000_000
DATA = Path("/data")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Store:
    """A disk of 100 GB."""

    def __init__(self, free: float) -> None:
        self.free = free
        self.inodes = 1.0
        self.clock = Clock()
        self.disks = Disks([DATA], look=self.look, clock=self.clock)

    def look(self, path: Path) -> DiskRoom:
        assert path == DATA
        return DiskRoom(int(self.free * GB), self.free / 100, self.inodes)

    def read(self) -> dict[Watch, float]:
        return {reading.watch: reading.value for reading in self.disks.read()}

    def fill(self, *, per_minute: float, minutes: int) -> dict[Watch, float]:
        found = self.read()
        for _ in range(minutes):
            self.clock.now += 60
            self.free -= per_minute
            found = self.read()
        return found


def severity(watch: Watch, value: float) -> AlertSeverity | None:
    return DEFAULTS[watch].severity(value)


def test_a_disk_that_fills_tells_the_hours_that_are_left_long_before_it_is_full():
    store = Store(50)
    assert store.read()[Watch.DISK_FILLS] == float("inf")
    found = store.fill(per_minute=0.05, minutes=60)  # 3 GB an hour, 47 left
    assert found[Watch.DISK_FILLS] == pytest.approx(47 / 3, rel=0.01)
    assert severity(Watch.DISK_FILLS, found[Watch.DISK_FILLS]) is AlertSeverity.WARNING
    found = store.fill(per_minute=0.2, minutes=60)  # 12 GB an hour, 35 left
    assert severity(Watch.DISK_FILLS, found[Watch.DISK_FILLS]) is AlertSeverity.CRITICAL
    assert severity(Watch.DISK_FREE, found[Watch.DISK_FREE]) is None


def test_a_burst_of_minutes_and_a_disk_that_is_given_back_raise_nothing():
    store = Store(50)
    store.read()
    assert store.fill(per_minute=2, minutes=9)[Watch.DISK_FILLS] == float("inf")
    assert store.fill(per_minute=-1, minutes=60)[Watch.DISK_FILLS] == float("inf")


def test_the_pace_of_the_last_hour_counts_not_that_of_before():
    store = Store(90)
    store.fill(per_minute=0.5, minutes=60)
    assert store.fill(per_minute=0, minutes=61)[Watch.DISK_FILLS] == float("inf")


@pytest.mark.parametrize(("free", "inodes"), [(3, 1.0), (50, 0.03)])
def test_little_room_is_critical_whether_bytes_or_inodes_run_out(free: float, inodes: float):
    store = Store(free)
    store.inodes = inodes
    (low, _) = store.disks.read()
    assert severity(Watch.DISK_FREE, low.value) is AlertSeverity.CRITICAL
    assert ("bytes" if free == 3 else "inodes") in low.detail


def test_a_disk_that_is_gone_is_as_bad_as_a_full_one():
    (found,) = Disks([Path("/nowhere/at/all")]).read()
    assert (found.watch, found.value) == (Watch.DISK_FREE, 0.0)
    assert "cannot be seen" in found.detail


def test_the_room_of_a_real_disk_is_seen(tmp_path: Path):
    room = DiskRoom.of(tmp_path)
    assert room.bytes > 0
    assert 0 < room.free <= 1
    assert 0 < room.inodes <= 1
