"""Drills on an installation of profile single under traffic: what is lost, and how long it takes.

``make drills`` runs them beside those of other rooms (a power cut, a full disk, a host that is rolled back) and prints
one line for each.
"""

import asyncio
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from cluster_load import SPEC_READER, Load
from mts1b_deploy.lifecycle import reload
from mts1b_deploy.pki.store import Pki
from mts1b_deploy.record import record_of
from mts1b_deploy.secured import server_certificate
from mts1b_deploy.supervise.processes import find_server_process, find_supervisor_process
from mts1b_deploy.testing import Machine
from mts1b_foundation.operations import AlertSeverity
from mts1b_operations.monitor.reading import Watch
from mts1b_operations.monitor.settings import DEFAULTS
from mts1b_operations.monitor.survey import certificates
from mts1b_platform.eventbus import BusError, connect

from .outside import GRACE, Outside

Record = Callable[[str, object], None]


@pytest.fixture
def single(machine: Machine) -> Machine:
    """Profile single, installed."""
    machine.deploy("install", "--profile", "single", "--websocket-port", "0", "--checkout", str(SPEC_READER))
    return machine


@pytest.fixture
async def load(single: Machine) -> AsyncIterator[Load]:
    """Orders that are published, and read in order."""
    async with Load(single.layout.config, ordered=True) as made:
        await made.more()
        yield made


async def judge(load: Load, record: Record, drill: str, took: str) -> None:
    """Nothing acknowledged was lost, nothing stored twice, nothing read out of order."""
    await load.finish()
    record("drill", (drill, f"{len(load.lost)} of {len(load.acked)} acknowledged lost", took))
    assert not load.lost
    assert not load.doubled
    assert not load.disordered


async def refused(single: Machine) -> str:
    """Why nobody gets in."""
    with pytest.raises(BusError) as error:
        await connect(config=single.layout.config, service="mts1b-oms", connect_timeout=2)
    return str(error.value)


async def test_certificates_that_have_ended_are_renewed(single: Machine, load: Load, record_property: Record):
    layout, record = single.layout, record_of(single.layout)
    pki = Pki(layout.pki)
    names = [server_certificate(record), "mts1b-oms", "mts1b-treasury"]
    short = await asyncio.to_thread(pki.rotate, names, lifetime=timedelta(seconds=2))
    ends = max(datetime.fromisoformat(each.not_after) for each in short)
    assert await asyncio.to_thread(reload, layout, record)
    await asyncio.sleep((ends - datetime.now(UTC)).total_seconds() + 1)
    readings = list(certificates([pki.pem(name) for name in names]))
    assert {DEFAULTS[Watch.CERTIFICATE].severity(each.value) for each in readings} == {AlertSeverity.CRITICAL}
    await load.more()  # who is connected stays so

    began = time.monotonic()
    await asyncio.to_thread(single.deploy, "restart")
    said = await refused(single)
    print(said)
    mended = time.monotonic()
    await asyncio.to_thread(single.deploy, "pki", "rotate", "--due")
    await load.more()
    took = time.monotonic() - mended
    stood = load.gap(began)
    await judge(
        load, record_property, "expired certificate",
        f"none while connections last; after a restart {stood:.1f} s without an ack, {took:.1f} s from `pki rotate` on",
    )  # fmt: skip


async def test_an_authority_whose_key_is_lost_is_replaced(single: Machine, load: Load, record_property: Record):
    layout = single.layout
    began = time.monotonic()
    shutil.move(layout.pki, layout.pki.with_name("pki.lost"))
    await asyncio.to_thread(single.deploy, "install")
    await load.more()
    await asyncio.to_thread(single.deploy, "restart")  # everybody logs in anew
    await load.more()
    took, stood = time.monotonic() - began, load.gap(began)
    await judge(
        load, record_property, "lost key of the authority",
        f"{took:.1f} s until everybody had new certificates and logged in, {stood:.1f} s without an ack",
    )  # fmt: skip


class Watching:
    """A monitor, as a process of its own."""

    def __init__(self, single: Machine, outside: Outside) -> None:
        self._single = single
        config = single.layout.config
        heartbeat = f'[monitoring]\ninterval = 0.5\nheartbeat = "{outside.url}"\nheartbeat_every = 0.5\n'
        config.write_text(config.read_text().replace("[monitoring]\n", heartbeat))
        self._command = [Path(sys.executable).with_name("mts1b"), "monitor", "run", "--config", config]
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command, env=self._single.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


def kill_the_server(single: Machine) -> None:
    """With its supervisor, which would start it again."""
    for find in (find_supervisor_process, find_server_process):
        if (process := find(single.layout)) is not None:
            with suppress(psutil.NoSuchProcess):
                process.kill()
                psutil.wait_procs([process], timeout=10)


@contextmanager
def watched(single: Machine, outside: Outside) -> Generator[Watching]:
    """A monitor that runs meanwhile."""
    made = Watching(single, outside)
    try:
        yield made
    finally:
        made.kill()


async def test_silence_pages_when_the_monitor_the_server_or_the_box_is_dead(
    single: Machine, load: Load, record_property: Record
):
    took: dict[str, float] = {}
    with Outside() as outside, watched(single, outside) as monitor:
        await outside.heard()
        assert not outside.pages

        monitor.kill()
        took["monitor killed"] = await outside.paged()
        monitor.start()
        await outside.heard()

        kill_the_server(single)
        took["server dead"] = await outside.paged()
        await asyncio.to_thread(single.deploy, "start")
        await outside.heard()  # by itself
        await load.more()

        monitor.kill()
        kill_the_server(single)
        took["box gone"] = await outside.paged()
        await asyncio.to_thread(single.deploy, "start")
        monitor.start()
        await outside.heard()
        await load.more()
    pages = ", ".join(f"{what} {seconds:.1f} s" for what, seconds in took.items())
    await judge(load, record_property, "dead monitor", f"paged {pages} later (silence of {GRACE:.0f} s pages)")
