"""Profile single rests for a season: its timers run, and nobody is locked out, paged or told to mend anything.

The clock of a machine cannot be moved for nats-server, and TLS goes by it on both ends. So time does not pass here:
what depends on it grows older. At the beginning of each day every certificate, the authority's too, is signed anew with
dates that lie a day further back, by the same keys; the server reads them again. What the timers run is what the
installation's own example runs, on the real server: renewal by the lifetimes that are the default, backups, the
archive, doctor. Timers that run each hour run at the last hour of a day and at its first.
"""

import asyncio
import io
import json
import os
import subprocess
import time
import tomllib
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from datetime import datetime, timedelta

import mts1b_deploy.cli
import mts1b_platform.cli
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from mts1b_deploy.lifecycle import reload
from mts1b_deploy.permissions import APART
from mts1b_deploy.pki.certificates import certificate_pem, private_pem
from mts1b_deploy.pki.store import Pki
from mts1b_deploy.record import record_of
from mts1b_deploy.services.definition import EXAMPLE, Services, TimerDefinition
from mts1b_deploy.testing import Machine
from mts1b_operations.monitor import Monitor, MonitorSettings
from mts1b_operations.monitor.reading import Watch
from mts1b_operations.monitor.settings import Threshold
from mts1b_platform import command_line
from mts1b_platform.eventbus import connect

PROGRAMS = {"mts1b": mts1b_platform.cli.app, "mts1b-deploy": lambda: mts1b_deploy.cli.app}
DAYS = int(os.environ.get("MTS1B_REST_DAYS", "90"))
DAY = timedelta(days=1)
NAMED = "%Y-%m-%dT%H%M%SZ"
"""How a backup is named, which grows a day older too."""
LOGINS = 5
"""Every so many days each service logs in anew; some of them each day."""
RENEWED = 20
"""Days after which a certificate of the default lifetime is renewed."""
BUSY = {Watch.SERVER: Threshold(critical=300, clear=100), Watch.SLOW_CONSUMER: Threshold(critical=300, clear=100)}
"""A machine that is busy with other tests is no alert here."""


def a_day_older(pki: Pki) -> None:
    """Have every certificate begin and end a day earlier."""
    key = load_pem_private_key(pki.ca_key.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    (authority,) = x509.load_pem_x509_certificates(pki.ca.read_bytes())
    pki.ca.write_bytes(certificate_pem(older(authority, key)))
    for entry in pki.current():
        held = pki.pem(entry.name).read_bytes()
        own = load_pem_private_key(held, None)
        assert isinstance(own, ec.EllipticCurvePrivateKey)
        (certificate,) = x509.load_pem_x509_certificates(held)
        pki.pem(entry.name).write_bytes(private_pem(own) + certificate_pem(older(certificate, key)))
    rows = json.loads(pki.register.read_bytes())
    for row in rows:
        for name in ("not_before", "not_after"):
            row[name] = (datetime.fromisoformat(row[name]) - DAY).isoformat()
    pki.register.write_text(json.dumps(rows))


def older(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """The same certificate, a day older."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(certificate.subject)
        .issuer_name(certificate.issuer)
        .public_key(certificate.public_key())
        .serial_number(certificate.serial_number)
        .not_valid_before(certificate.not_valid_before_utc - DAY)
        .not_valid_after(certificate.not_valid_after_utc - DAY)
    )
    for extension in certificate.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    return builder.sign(key, hashes.SHA256())


def in_order(timers: dict[str, TimerDefinition]) -> list[str]:
    """The timers of a day, by their first time in it, as systemd reads the calendar."""
    first: dict[str, str] = {}
    for name, timer in timers.items():
        said = subprocess.run(
            ["/usr/bin/systemd-analyze", "calendar", "--base-time=2026-01-01 23:59:59 UTC", timer.when],
            capture_output=True, text=True, check=True, env={"TZ": "UTC"},
        ).stdout  # fmt: skip
        first[name] = next(line for line in said.splitlines() if "Next elapse" in line).split()[-2]
    return sorted(first, key=lambda name: (first[name], name))


class Rest:
    """An installation, and what its timers run."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.layout = machine.layout
        self.pki = Pki(self.layout.pki)
        self.timers = Services.model_validate(tomllib.loads(EXAMPLE.format(venv="/", etc="/etc"))).timers
        self.order = in_order(self.timers)
        for place in ("etc/mts1b", "var/backups", "var/lib/mts1b-act"):
            (machine.home / place).mkdir(parents=True)
        self.ran: Counter[str] = Counter()

    def run(self, name: str) -> None:
        """Do what a timer does, below the machine's home; it must end well."""
        words = [
            word if not word.startswith(("/etc/", "/var/")) else f"{self.machine.home}{word}"
            for word in self.timers[name].command
        ]
        said = io.StringIO()
        with redirect_stdout(said), redirect_stderr(said):
            code = command_line.run(PROGRAMS[words[0]](), words[1:], name=words[0])
        assert code == 0, f"{name} pages somebody: {said.getvalue()}"
        self.ran[name] += 1

    def day(self) -> None:
        """What happens on a day: the hourly ones late in the day before, a day passes, and then the timers."""
        a_day_older(self.pki)
        for made in sorted((self.machine.home / "var/backups/mts1b").glob("*")):  # the oldest first
            made.rename(made.with_name((datetime.strptime(made.name, NAMED) - DAY).strftime(NAMED)))  # noqa: DTZ007
        assert reload(self.layout, record_of(self.layout))
        for name in [name for name in self.order if self.timers[name].when == "hourly"]:
            self.run(name)
        for name in self.order:
            self.run(name)


@pytest.mark.timeout(3600)
async def test_an_installation_rests_for_a_season_and_nobody_is_locked_out_or_paged(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
):
    began = time.monotonic()
    for name in [name for name in os.environ if name.startswith(("MTS1B_", "XDG_"))]:
        monkeypatch.delenv(name)
    for name, value in machine.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MTS1B_CONFIG", str(machine.layout.config))
    await asyncio.to_thread(machine.deploy, "install", "--profile", "single", "--websocket-port", "0")
    rest = Rest(machine)
    config = machine.layout.config
    services = [entry.name for entry in rest.pki.current() if entry.kind == "service" and entry.name not in APART]
    first = {entry.name: entry.serial for entry in rest.pki.current()}
    renewed: Counter[str] = Counter()
    settings = MonitorSettings.read(config)
    settings = settings.model_copy(update={"thresholds": BUSY, "probe_timeout": 60})
    async with (
        await connect(config=config, service="mts1b-operations", connect_timeout=20, ping_interval=60) as operations,
        await connect(config=config, service="mts1b-oms", connect_timeout=20, ping_interval=60) as stays,
    ):
        monitor = Monitor(operations, settings)
        for day in range(1, DAYS + 1):
            await asyncio.to_thread(rest.day)
            assert await monitor.look() == [], f"an alert on day {day}"
            if day % 10 == 0:
                print(f"day {day} after {time.monotonic() - began:.0f} s", flush=True)
            now = {entry.name: entry.serial for entry in rest.pki.current()}
            renewed.update(name for name, serial in now.items() if serial != first[name])
            first = now
            for service in services[day % LOGINS :: LOGINS] if day < DAYS else services:
                async with await connect(config=config, service=service, connect_timeout=20):
                    pass
        assert (operations.counters.disconnects, stays.counters.disconnects) == (0, 0)
        await asyncio.to_thread(machine.deploy, "restart")
        await stays.flush()  # who was connected all the time comes back with what is good now
    assert set(renewed.values()) == {DAYS // RENEWED}, renewed
    assert monitor.alerts.active == []
    ran = ", ".join(f"{name} {times}" for name, times in rest.ran.items())
    print(f"\n{DAYS} days in {time.monotonic() - began:.0f} s; timers ran: {ran}")
    print(f"{len(renewed)} certificates were renewed {DAYS // RENEWED} times each; nobody locked out, no alert")
