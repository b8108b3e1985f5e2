"""A site and its mirror under systemd, in a booted Debian: what follows, what does not start, over a reboot."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mts1b_deploy.layout import Layout

from .booted import Booted, booted

BIN = Path(__file__).parents[2] / ".venv" / "bin"
A, B = Layout(Path("/var/lib/mts1b-a")), Layout(Path("/var/lib/mts1b-b"))
SITES = "a=127.0.0.11,b=127.0.0.12"
PATIENCE = 120.0
SILENCE = 22.0
"""Seconds after which the server has asked in vain once, and waits for 40 seconds until it asks again."""


@pytest.fixture
def machine() -> Iterator[Booted]:
    """A Debian that the test boots."""
    assert not BIN.is_relative_to("/tmp"), "units have a /tmp of their own, so clone the checkout elsewhere"  # noqa: S108
    with booted() as made:
        yield made


@pytest.mark.timeout(900)
def test_units_keep_a_mirror_up_and_an_old_site_down(machine: Booted):
    machine.boot()
    machine.run("chmod", "711", "/root")  # this test's Python may lie below it

    def deploy(layout: Layout, *arguments: str | Path, code: int | None = 0) -> str:
        words = (BIN / "mts1b-deploy", *arguments, "--prefix", layout.prefix)
        return machine.run("MTS1B_CONNECT_TIMEOUT=20", *words, code=code)

    def fine() -> bool:
        return all("nothing deviates" in deploy(each, "doctor", code=None) for each in (A, B))

    def said(unit: Path) -> str:
        return machine.run("journalctl", "--boot", "--no-pager", "-u", unit.name)

    def until(condition: Callable[[], bool]) -> None:
        ends = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < ends, said(B.follow_unit)
            time.sleep(0.5)

    def until_said(words: str, times: int) -> None:
        until(lambda: said(B.follow_unit).count(words) > times)

    common = ("--sites", SITES, "--websocket-port", "0", "--no-user-config", "--timeout", "60")
    deploy(A, "install", "--profile", "single", "--site", "a", *common)
    deploy(B, "mirror", "--site", "b", *common, "--pki", A.pki, "--monitor-port", "8322")
    until(fine)

    machine.reboot()
    until(fine)

    away, anew = "site a is not connected", "the server here starts anew"
    before = {words: said(B.follow_unit).count(words) for words in (away, anew)}
    machine.run("systemctl", "stop", A.unit_name)
    until_said(away, before[away])
    time.sleep(SILENCE)
    machine.run("systemctl", "start", A.unit_name)
    until_said(anew, before[anew])
    until(fine)

    machine.run("systemctl", "stop", A.unit_name)
    until(lambda: "promoted" in deploy(B, "promote", "--reason", "a is down", "--confirm", "b", code=None))
    machine.run("systemctl", "start", A.unit_name, code=None)
    assert "site b serves" in said(A.system_unit)
    assert machine.run("systemctl", "is-active", A.unit_name, code=None).strip() == "inactive"
    assert machine.run("systemctl", "is-active", B.follow_unit.name).strip() == "active"
    assert "Failed with result" not in said(B.follow_unit)
