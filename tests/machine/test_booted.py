"""A desk on systemd units that trades in a booted Debian, and its console, before and after a reboot."""

import json
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from mts1b_deploy.services.definition import EXAMPLE, Services
from mts1b_deploy.services.units import unit_name
from mts1b_desk.settings import DeskSettings, SimulationSettings

from .booted import Booted, booted

BIN = Path(__file__).parents[2] / ".venv" / "bin"
PREFIX = Path("/var/lib/mts1b")
NEXT = Path("/opt/mts1b/next")
READY_WITHIN = 60.0
"""Seconds after a reboot within which every service must be ready."""
SERVICES = EXAMPLE.replace("# [services.console]", "[services.console]").replace(
    '# command = "mts1b console serve"', 'command = "mts1b console serve"'
)
UNITS = [
    unit_name(name) for name in Services.model_validate(tomllib.loads(SERVICES.format(venv="/", etc="/"))).services
]
CONSOLE = f"""
[console]
listen = "127.0.0.1:8090"
tls_pem = "{PREFIX}/etc/handed/mts1b-console/mts1b-console.pem"
"""
SIGN_IN = """
import json, ssl, sys
from urllib.request import HTTPCookieProcessor, HTTPSHandler, Request, build_opener
authority, token = sys.argv[1:]
console = "https://127.0.0.1:8090"
browser = build_opener(HTTPSHandler(context=ssl.create_default_context(cafile=authority)), HTTPCookieProcessor())
sent = {"Origin": console, "Content-Type": "application/json"}
me = json.load(browser.open(Request(console + "/login", json.dumps({"token": token}).encode(), sent), timeout=20))
print(json.dumps({"me": me, "services": json.load(browser.open(console + "/api/services", timeout=20))}))
"""
LISTENER = """
from http.server import BaseHTTPRequestHandler, HTTPServer
class Phone(BaseHTTPRequestHandler):
    def do_POST(self):
        print(self.headers["Authorization"], self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.send_response(200)
        self.end_headers()
HTTPServer(("127.0.0.1", 9999), Phone).handle_request()
"""
DESK = ("operations", "riskengine", "oms", "brokers", "treasury", "research", "marketdata")


@pytest.fixture
def machine() -> Iterator[Booted]:
    """A Debian that the test boots."""
    assert not BIN.is_relative_to("/tmp"), "units have a /tmp of their own, so clone the checkout elsewhere"  # noqa: S108
    with booted() as made:
        yield made


def desk_json() -> str:
    market = SimulationSettings(symbols=("BTC/USD",), tick_ms=50)
    settings = DeskSettings(session="live", source=market, speed=5.0, intervals=("1s",), state=Path())
    return settings.model_dump_json()


@pytest.mark.timeout(1500)  # every service is started five times
def test_a_bare_debian_trades_with_a_user_for_everybody_and_goes_on_after_a_reboot(machine: Booted):
    began = time.monotonic()
    machine.boot()
    machine.run("chmod", "711", "/root")  # this test's Python may lie below it
    (machine.root / "etc" / "mts1b").mkdir()
    (machine.root / "etc" / "mts1b" / "desk.json").write_text(desk_json())
    services = SERVICES.format(venv=BIN.parent, etc=PREFIX / "etc").replace("# sealed =", "sealed =")
    (machine.root / "etc" / "mts1b" / "services.toml").write_text(services)
    (machine.root / "etc" / "mts1b" / "secrets").mkdir(mode=0o700)
    (machine.root / "etc" / "mts1b" / "secrets" / "ntfy-token").write_text("tk_secret")
    machine.run(BIN / "mts1b-deploy", "services", "seal", "/etc/mts1b/secrets/ntfy-token")
    assert "tk_secret" not in machine.run("sh", "-c", "cat /etc/mts1b/secrets/*")

    def deploy(*arguments: str) -> dict[str, Any]:
        said = machine.run("MTS1B_CONNECT_TIMEOUT=20", BIN / "mts1b-deploy", *arguments, "--prefix", PREFIX, "--json")
        found: dict[str, Any] = json.loads(said[said.index("{") :])
        return found

    deploy("install", "--profile", "single", "--timeout", "60")
    machine.run(f"MTS1B_CONFIG={PREFIX}/etc/mts1b.toml", BIN / "mts1b", "auth", "init")
    machine.run(BIN / "mts1b-deploy", "pki", "issue", "mts1b-console", "--host", "127.0.0.1", "--prefix", PREFIX)
    config = machine.root / PREFIX.relative_to("/") / "etc" / "mts1b.toml"
    config.write_text(config.read_text() + CONSOLE)
    done = deploy("install", "--services", "/etc/mts1b/services.toml", "--timeout", "60")
    assert len(done["services"]) == len(UNITS) + 5  # and the timers
    fills(machine, more_than=0)
    print(f"from a bare Debian to a desk that trades: {time.monotonic() - began:.0f} s")

    seen = signed_in(machine)
    assert seen["me"]["rights"]["acts"] == ["alerts.>", "deadletters.>", "halt.>"]

    users = machine.run("ps", "-eo", "user:32,args", "--no-headers")
    assert "mts1b-console" in {line.split()[0] for line in users.splitlines() if "console serve" in line}
    owners = {line.split()[0] for line in users.splitlines() if "mts1b-desk" in line or "bin/nats-server" in line}
    assert owners == {"mts1b-nats", *(f"mts1b-{name}" for name in DESK)}
    assert "Permission denied" in machine.run(
        "runuser", "-u", "mts1b-oms", "--", "cat", PREFIX / "etc/handed/mts1b-brokers/mts1b-brokers.pem", code=1
    )

    machine.run(BIN / "mts1b-deploy", "pki", "rotate", "--prefix", PREFIX)
    held = machine.run("cat", PREFIX / "etc/pki/mts1b-oms.pem")
    assert machine.run("cat", PREFIX / "etc/handed/mts1b-oms/mts1b-oms.pem") == held

    for name in ("rotate", "backup", "archive", "archive-watch", "doctor"):
        machine.run("systemctl", "start", f"mts1b-{name}.service")
        assert f"mts1b-{name}.timer" in machine.run("systemctl", "list-timers", "--no-pager")
    machine.run("rm", "-r", "/var/backups/mts1b")
    machine.run("touch", "/var/backups/mts1b")
    paged = paged_by(machine, "systemctl", "start", "mts1b-backup.service")
    assert "mts1b-backup failed" in paged
    assert "Bearer tk_secret" in paged

    another_release(machine, more_than=fills(machine, more_than=0))
    rehearse_a_restore(machine)

    before = fills(machine, more_than=0)
    booted_after = machine.reboot()
    ready = until_active(machine)
    print(f"after a reboot: up in {booted_after:.1f} s, every service ready {ready:.1f} s later")
    assert booted_after + ready < READY_WITHIN
    fills(machine, more_than=before)
    signed_in(machine)

    assert deploy("install")["changed"] is False

    began = time.monotonic()
    machine.run("mv", PREFIX / "etc/pki", PREFIX / "etc/pki.lost")
    machine.run(BIN / "mts1b-deploy", "pki", "init", "--prefix", PREFIX)
    machine.run(BIN / "mts1b-deploy", "pki", "issue", "mts1b-console", "--host", "127.0.0.1", "--prefix", PREFIX)
    deploy("install")
    signed_in(machine)
    fills(machine, more_than=fills(machine, more_than=0))
    print(f"from a lost authority to a desk that trades: {time.monotonic() - began:.0f} s")
    kept = {each["path"] for each in deploy("uninstall", "--purge")["kept"]}
    assert {f"/var/lib/{unit.removesuffix('.service')}" for unit in UNITS} <= kept
    assert "mts1b-" not in machine.run("systemctl", "list-units", "--all", "--no-legend", "--no-pager")
    assert "mts1b-" not in machine.run("ls", "/etc/systemd/system", "/etc/sysusers.d", code=None)


def another_release(machine: Booted, *, more_than: int) -> None:
    """Bring every service to another environment and back, while the desk trades."""
    machine.run(BIN / "python", "-m", "venv", "--without-pip", NEXT)
    [site] = machine.run("sh", "-c", f"echo {NEXT}/lib/python3*/site-packages").split()
    own = machine.root / NEXT.relative_to("/")
    packages = next((BIN.parent / "lib").glob("python3*/site-packages"))
    (machine.root / site.lstrip("/") / "checkout.pth").write_text(f"import site; site.addsitedir({str(packages)!r})\n")
    for name in ("mts1b", "mts1b-desk", "mts1b-deploy"):
        script = (BIN / name).read_text().replace(str(BIN / "python"), str(NEXT / "bin" / "python"))
        (own / "bin" / name).write_text(script)
        (own / "bin" / name).chmod(0o755)

    began, booked = time.monotonic(), more_than
    for deploy, verb, release in (
        (NEXT / "bin" / "mts1b-deploy", "apply", NEXT),
        (BIN / "mts1b-deploy", "rollback", BIN.parent),
    ):
        said = machine.run(deploy, "release", verb, "--settle", "0.5", "--prefix", PREFIX, "--json", timeout=600)
        done = json.loads(said[said.index("{") : said.rindex("}") + 1])
        assert [unit_name(name) for name in done["services"]] == UNITS
        assert done["traffic"]["stored"] > 0
        assert (done["traffic"]["lost"], done["traffic"]["doubled"]) == ({}, {})
        running = machine.run("ps", "-eo", "args", "--no-headers").splitlines()
        desk = [line for line in running if "mts1b-desk" in line and "ps -eo" not in line]
        assert len(desk) == len(DESK)
        assert all(str(release / "bin") in line for line in desk), desk
        booked = fills(machine, more_than=booked)
    print(f"every service to another release and back under traffic: {time.monotonic() - began:.0f} s")


def rehearse_a_restore(machine: Booted) -> None:
    """Save everything while the desk trades, restore it aside, and compare the books of the desk there."""
    saved = "/var/backups/rehearsed"
    machine.run(BIN / "mts1b-deploy", "backup", saved, "--all", "--also", "/etc/mts1b", "--prefix", PREFIX)
    check = f"{BIN}/mts1b-desk reconcile --state {{host}} --settings /etc/mts1b/desk.json"
    print(machine.run(BIN / "mts1b-deploy", "restore", saved, "--drill", "--check", check, "--prefix", PREFIX))


def paged_by(machine: Booted, *command: str) -> str:
    """What a pager in the machine hears when a command fails there."""
    config = machine.root / PREFIX.relative_to("/") / "etc" / "mts1b.toml"
    pager = '[[monitoring.pagers]]\nkind = "ntfy"\nurl = "http://127.0.0.1:9999/desk"\ntoken_file = "ntfy-token"\n'
    config.write_text(config.read_text() + pager)
    with ThreadPoolExecutor(1) as pool:
        heard = pool.submit(machine.run, BIN / "python", "-c", LISTENER)
        while "9999" not in machine.run("ss", "-ltn"):
            time.sleep(0.05)
        machine.run(*command, code=1)
        return heard.result(60)


def signed_in(machine: Booted) -> dict[str, Any]:
    """What an operator sees in the console: who it says that is there, and the services."""
    config = f"MTS1B_CONFIG={PREFIX}/etc/mts1b.toml"
    token = machine.run(config, BIN / "mts1b", "token", "issue", "olga", "--role", "operator").split()[-1]
    began, said = time.monotonic(), ""
    while time.monotonic() - began < 60:
        said = machine.run(BIN / "python", "-c", SIGN_IN, PREFIX / "etc/pki/ca.crt", token, code=None)
        seen: dict[str, Any] = json.loads(said) if said.startswith("{") else {}
        if seen and seen["services"]["services"]:
            assert seen["me"]["name"] == "olga"
            return seen
        time.sleep(0.5)
    log = machine.run("journalctl", "-n", "60", "--no-pager", "-u", "mts1b-console", code=None)
    raise AssertionError(f"nobody signs in: {said}\n{log}")


def until_active(machine: Booted) -> float:
    """Seconds until every unit of the example is active."""
    began = time.monotonic()
    while True:
        states = machine.run("systemctl", "is-active", *UNITS, code=None).split()
        if states == ["active"] * len(UNITS):
            return time.monotonic() - began
        late = [unit for unit, state in zip(UNITS, states, strict=False) if state != "active"]
        if time.monotonic() - began > READY_WITHIN:
            raise AssertionError(
                f"{late}: {machine.run('journalctl', '-n', '60', '--no-pager', '-u', late[0], code=None)}"
            )
        time.sleep(0.2)


def fills(machine: Booted, *, more_than: int) -> int:
    """How many fills the desk has booked, as its own command tells, once they are more than so many."""
    began, said = time.monotonic(), ""
    while time.monotonic() - began < 60:
        said = machine.run(f"MTS1B_CONFIG={PREFIX}/etc/mts1b.toml", BIN / "mts1b-desk", "ledger", "--json", code=None)
        booked = sum(row["fills"] for row in json.loads(said)["funds"].values()) if said.startswith("{") else 0
        if booked > more_than:
            return booked
        time.sleep(0.5)
    raise AssertionError(f"nothing is traded: {said}\n{machine.run('journalctl', '-n', '80', '--no-pager', code=None)}")
