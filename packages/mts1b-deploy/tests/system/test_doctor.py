"""``mts1b-deploy doctor`` names every deviation, on a real installation that is bent one way after the other."""

import asyncio
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Collection
from datetime import timedelta
from pathlib import Path

import pytest
from mts1b_deploy.doctor import examine
from mts1b_deploy.doctor.server_checks import Ping, check_pings, check_version
from mts1b_deploy.layout import Layout
from mts1b_deploy.lifecycle import start, stop
from mts1b_deploy.pki.store import Pki
from mts1b_deploy.record import record_of
from mts1b_deploy.streams import connect_as_admin
from mts1b_deploy.testing import Machine
from mts1b_platform.eventbus.jetstream.api import js_api

SPEC_READER = str(Path(__file__).parents[4] / "tests" / "checkouts" / "spec-reader")
"""Declares ``my-consumer``."""


def codes(layout: Layout, *, ahead: float = 0.0) -> set[str]:
    """What deviates, but for the clock of the machine that runs the tests."""
    found = examine(layout, clock=lambda: time.time() + ahead)
    return {each.code for each in found} - {"clock-offset"}


def edit(layout: Layout, *changes: tuple[str, str]) -> None:
    """Change the server's configuration by hand, and run it on that."""
    text = layout.nats_conf.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    record = record_of(layout)
    stop(layout, record, timeout=60)
    layout.nats_conf.write_text(text)
    start(layout, record, timeout=60)


@pytest.mark.slow
async def test_every_deviation_of_a_locked_down_node_is_named_and_an_install_repairs_what_it_can(machine: Machine):
    async def finds(*expected: str, more: bool = False, ahead: float = 0.0) -> None:
        """What is bent stays bent: a machine that stands still for a moment is looked at again."""
        wanted, found = set(expected), set[str]()
        for _ in range(5):
            found = await asyncio.to_thread(codes, layout, ahead=ahead)
            if found == wanted or (more and found > wanted):
                return
        pytest.fail(f"found {found}, not {wanted}")

    layout = machine.layout
    machine.deploy("install", "--profile", "single", "--websocket-port", "0", "--checkout", SPEC_READER)
    await finds()
    assert "nothing deviates" in machine.deploy("doctor").stdout
    await finds("clock-skew", ahead=-5.0)

    monitor = f'"127.0.0.1:{machine.monitor_port}"'
    edit(
        layout,
        ('sync_interval: "always"', 'sync_interval: "2m"'),
        ("strict: true", "strict: false"),
        (monitor, monitor.replace("127.0.0.1", "0.0.0.0")),  # noqa: S104 - the very thing that is to be found
    )
    await finds("lazy-fsync", "strict-off", "open-monitoring", "permission-drift")
    machine.deploy("doctor", code=1)
    machine.deploy("install", "--profile", "single", "--overwrite")
    await finds()

    layout.nats_conf.write_text(layout.nats_conf.read_text().replace('"$JS.API.>"', '"$JS.>"'))
    await finds("permission-drift", "config-not-loaded")
    machine.deploy("install", "--profile", "single", "--overwrite")

    async with await connect_as_admin(layout, record_of(layout)) as bus:
        await js_api(bus, "STREAM.DELETE.RISK")
        await js_api(bus, "CONSUMER.DELETE.OMS_ORDERS.my-consumer")
        held = (await js_api(bus, "STREAM.INFO.OMS_FILLS"))["config"]
        await js_api(bus, "STREAM.UPDATE.OMS_FILLS", {**held, "max_age": 3_600_000_000_000})
    await finds("stream-missing", "durable-missing", "stream-drift", more=True)
    machine.deploy("install", "--profile", "single")

    pki = Pki(layout.pki)
    pki.issue("mts1b-oms", lifetime=timedelta(seconds=20), renew=True)
    pki.issue("server", lifetime=timedelta(days=20), renew=True)
    pki.pem("mts1b-desk").write_text("readable")
    await finds("certificate-expiry", "certificate-not-loaded", "key-readable")
    stop(layout, record_of(layout), timeout=60)
    await finds("not-running", more=True)


class Repairs:
    """Remedies, done as they are printed: every command that stands in one, in its order."""

    def __init__(self, machine: Machine, prefix: Path) -> None:
        self.machine = machine
        self.prefix = prefix
        self.layout = Layout(prefix)

    def found(self) -> dict[str, str]:
        """By code, the first remedy of what deviates."""
        problems = [each for each in examine(self.layout) if each.severity == "problem"]
        return {each.code: each.remedy for each in reversed(problems)}

    def repair(self, code: str) -> None:
        """Do what the remedy of ``code`` says; afterwards it is there no more."""
        remedy = self.found()[code]
        commands = re.findall("`([^`]+)`", remedy)
        assert commands, f"{code}: {remedy}"
        for command in commands:
            self._run(shlex.split(command))
        for _ in range(5):  # a machine that stands still for a moment is looked at again
            if code not in self.found():
                return
        pytest.fail(f"{code} is still there after {commands}: {self.found()}")

    def _run(self, words: list[str]) -> None:
        name, _, value = words[0].partition("=")
        if words[0] == "mts1b-deploy":
            assert words[-2:] == ["--prefix", str(self.prefix)]
            self.machine.deploy(*words[1:])
            return
        environ = self.machine.environ | ({name: value} if value else {})
        command = words[1:] if value else words
        if command[0] == "mts1b":
            command = [sys.executable, "-m", "mts1b_platform", *command[1:]]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode in (0, 1), done.stderr  # 1: what it shows differs
        assert not done.stderr, done.stderr


@pytest.mark.slow(seconds=20)
def test_every_remedy_works_as_it_is_printed_for_a_prefix_of_ones_own(machine: Machine):
    prefix = machine.home / "a bus of one's own"
    repairs = Repairs(machine, prefix)
    layout, pki = repairs.layout, Pki(repairs.layout.pki)
    machine.deploy(
        "install", "--profile", "single", "--websocket-port", "0", "--no-user-config", "--prefix", str(prefix),
        "--checkout", SPEC_READER,
    )  # fmt: skip
    assert repairs.found() == {}

    monitor = f'"127.0.0.1:{machine.monitor_port}"'
    for code, old, new in (
        ("lazy-fsync", 'sync_interval: "always"', 'sync_interval: "2m"'),
        ("strict-off", "strict: true", "strict: false"),
        ("open-monitoring", monitor, monitor.replace("127.0.0.1", "0.0.0.0")),  # noqa: S104 - to be found
        ("permission-drift", '"$JS.API.>"', '"$JS.>"'),
    ):
        edit(layout, (old, new))
        repairs.repair(code)
        assert repairs.found() == {}

    right = layout.nats_conf.read_text()
    edit(layout, ("strict: true", "strict: false"))
    layout.nats_conf.write_text(right)
    repairs.repair("config-not-loaded")
    layout.nats_conf.unlink()
    repairs.repair("config-missing")

    async def bend() -> None:
        async with await connect_as_admin(layout, record_of(layout)) as bus:
            await js_api(bus, "STREAM.DELETE.RISK")
            await js_api(bus, "CONSUMER.DELETE.OMS_ORDERS.my-consumer")

    asyncio.run(bend())
    repairs.repair("stream-missing")
    asyncio.run(bend())
    repairs.repair("durable-missing")

    async def drift() -> None:
        async with await connect_as_admin(layout, record_of(layout)) as bus:
            held = (await js_api(bus, "STREAM.INFO.OMS_FILLS"))["config"]
            await js_api(bus, "STREAM.UPDATE.OMS_FILLS", {**held, "max_age": 3_600_000_000_000})

    asyncio.run(drift())
    repairs.repair("stream-drift")

    other = layout.binary.with_name("other")
    other.write_bytes(layout.binary.read_bytes() + b"something")
    other.chmod(0o755)
    other.replace(layout.binary)
    assert "find out who changed it" in repairs.found()["server-changed"]
    assert (
        "is not the nats-server that was installed" in machine.deploy("install", "--prefix", str(prefix), code=1).stderr
    )
    repairs.repair("server-changed")

    pki.issue("mts1b-oms", lifetime=timedelta(seconds=20), renew=True)
    repairs.repair("certificate-expiry")
    pki.pem("mts1b-research").unlink()
    repairs.repair("certificate-missing")
    pki.issue("server", renew=True)
    repairs.repair("certificate-not-loaded")
    pki.pem("mts1b-desk").write_text("readable")
    repairs.repair("key-readable")
    stop(layout, record_of(layout), timeout=60)
    repairs.repair("not-running")


@pytest.mark.slow
def test_what_minimal_accepts_on_purpose_is_named_and_is_no_failure(machine: Machine):
    machine.deploy("install")
    found = machine.deploy("doctor").stdout
    for code in ("lazy-fsync", "no-authentication", "no-encryption"):
        assert f"accepted   {code}" in found
    assert "problem" not in found


@pytest.mark.parametrize(
    ("version", "named"), [("2.14.4", True), ("2.9.10", True), ("2.14.5", False), ("3.0.0", False)]
)
def test_a_server_older_than_the_guarantees_need_is_named(version: str, named: bool):
    assert bool(list(check_version("n1", version))) is named


@pytest.mark.parametrize(
    ("pings", "expected"),
    [
        ([Ping("n1", "2.15.1", 0.1), Ping("n2", "2.15.1", -0.2)], []),
        ([Ping("n1", "2.15.1", 0.1)], ["node-missing"]),
        ([Ping("n1", "2.15.1", 0.1), Ping("n2", "2.15.1", 30.0)], ["clock-skew"]),
        ([Ping("n1", "2.14.4", 0.1), Ping("n2", "2.15.1", 0.0)], ["server-version"]),
        ([Ping("n1", "2.15.1", 0.1), Ping("n2", "2.15.1", 3.0, trip=6.0)], []),
        ([Ping("n1", "2.15.1", 0.1), Ping("n2", "2.15.1", 5.0, trip=6.0)], ["clock-skew"]),
    ],
)
def test_nodes_that_are_away_too_old_or_in_another_time_are_named(pings: Collection[Ping], expected: list[str]):
    assert [each.code for each in check_pings(pings, ["n1", "n2"])] == expected
