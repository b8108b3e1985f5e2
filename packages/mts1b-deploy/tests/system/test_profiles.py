"""Profiles single and production as ``mts1b-deploy`` installs them: planned, repeated, changed, taken away."""

import asyncio

import pytest
from mts1b_deploy.lifecycle import running_digest
from mts1b_deploy.pki.store import Pki
from mts1b_deploy.record import record_of
from mts1b_deploy.supervise.processes import find_server_process
from mts1b_deploy.testing import Machine
from mts1b_platform.server.probe import read_info, read_monitor
from mts1b_platform.testing.ports import free_ports

SINGLE = ("--profile", "single", "--websocket-port", "0")
PEERS = "n1=10.0.0.1,n2=10.0.0.2,n3=10.0.0.3"

OPEN = """
import asyncio
from mts1b_platform.eventbus import connect
async def main():
    bus = await connect(service="mts1b-oms")
    print(bus.connected_url.scheme, bus.server_info["client_id"])
    await bus.close()
asyncio.run(main())
"""


@pytest.mark.slow
def test_single_is_planned_installed_repeated_and_taken_away(machine: Machine):
    plan = machine.json("plan", *SINGLE, "--include", "nats,observability", "--port", str(machine.port))
    assert {file["action"] for file in plan["files"]} == {"created"}
    assert not machine.prefix.exists()

    done = machine.json("install", *SINGLE, "--include", "nats,observability", "--encrypt")
    assert "mts1b-oms" in done["certificates"]
    layout, record = machine.layout, record_of(machine.layout)
    info = read_info("127.0.0.1", machine.port)
    assert info is not None
    assert (info.auth_required, info.tls_required) == (True, True)
    stored = (read_monitor("127.0.0.1", machine.monitor_port, "/varz") or {})["jetstream"]["config"]
    assert (stored["sync_always"], stored["strict"]) == (True, True)
    assert machine.python(OPEN).startswith("tls ")
    assert list((layout.observability / "grafana" / "dashboards").glob("*.json"))
    assert layout.encryption_key.stat().st_mode & 0o777 == 0o600

    assert machine.json("install")["changed"] is False

    # A permission that changes is read by the running server.
    server, before = find_server_process(layout), running_digest(record)
    Pki(layout.pki).revoke("mts1b-brokers")
    changed = machine.json("install", "--profile", "single")
    assert changed["certificates"] == ["mts1b-brokers"]
    assert find_server_process(layout) == server
    assert running_digest(record) != before
    assert 'user: "spiffe://mts1b/mts1b-brokers/2"' in layout.nats_conf.read_text()

    assert "cannot be used" not in machine.deploy("install", "--profile", "minimal", code=1).stderr
    kept = {each["path"] for each in machine.json("uninstall")["kept"]}
    assert kept == {str(layout.data), str(layout.pki), str(layout.encryption_key)}
    machine.deploy("install", *SINGLE, "--encrypt")  # the same certificates and key, so the same data
    assert machine.json("status")["healthy"] is True
    machine.python("import mts1b_platform.cli; mts1b_platform.cli.main(['auth', 'init'])")
    assert (layout.callout.parent / "issuer.nk").exists()
    machine.deploy("uninstall", "--purge")
    assert machine.files() == {}


@pytest.mark.slow
def test_an_upgrade_exchanges_the_server_under_clients_and_a_bad_one_is_taken_back(machine: Machine):
    machine.deploy("install", *SINGLE)
    layout = machine.layout
    assert "unchanged" in machine.deploy("upgrade").stdout
    assert "none is kept to go back to" in machine.deploy("upgrade", "--back", code=1).stderr
    machine.deploy("upgrade", "--back", "--nats-server", str(layout.binary), code=2)
    newer = machine.home / "newer"
    newer.write_bytes(layout.binary.read_bytes() + b"newer")
    newer.chmod(0o755)
    old, first = find_server_process(layout), layout.binary.read_bytes()
    assert machine.json("upgrade", "--nats-server", str(newer))["restarted"] is True
    assert find_server_process(layout) != old
    assert layout.binary.read_bytes() == newer.read_bytes()

    bad = machine.home / "bad"
    bad.write_text('#!/bin/sh\ncase "$1" in --version) echo nats-server: v2.99.0; exit;; -t) exit 0;; esac\nexit 1\n')
    bad.chmod(0o755)
    machine.deploy("upgrade", "--nats-server", str(bad), "--timeout", "60", code=1)
    assert layout.binary.read_bytes() == newer.read_bytes()
    assert machine.json("status")["healthy"] is True
    assert machine.json("upgrade", "--back")["restarted"] is True  # to the one before the newer, not before the bad one
    assert (layout.binary.read_bytes(), layout.binary_before.read_bytes()) == (first, newer.read_bytes())
    machine.deploy("uninstall", "--purge")
    assert not layout.binary.parent.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--profile", "production"), "name all of its nodes and this one"),
        (("--profile", "production", "--node", "n4", "--peers", PEERS), "--node n4 is not among --peers n1, n2, n3"),
        (("--profile", "production", "--node", "n1", "--peers", "n1=a,n2=b"), "three or more"),
        (("--profile", "production", "--node", "n1", "--peers", "n1=a,n1=b,n2=c"), "name n1 twice"),
        (("--profile", "production", "--node", "n1", "--peers", "n1=a,n2=b:x,n3=c"), "'n2=b:x' names no node"),
        (("--profile", "single", "--node", "n1"), "profile single is no cluster"),
        (("--profile", "minimal", "--listen", "10.0.0.1"), "--listen: not with profile minimal"),
        (("--profile", "single", "--include", "observability"), "leaves nats out"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(machine: Machine, arguments: tuple[str, ...], said: str):
    assert said in machine.deploy("install", *arguments, code=2).stderr
    assert machine.files() == {}


def test_production_is_checked_by_the_real_server_before_there_are_certificates(machine: Machine):
    (port,) = free_ports(1)
    plan = machine.json("plan", "--profile", "production", "--node", "n2", "--peers", PEERS, "--port", str(port))
    assert plan["url"] == f"tls://10.0.0.2:{port}"
    assert machine.files() == {}


async def test_a_service_that_keeps_its_connection_survives_an_install_with_new_permissions(machine: Machine):
    from mts1b_platform.eventbus import connect

    await asyncio.to_thread(machine.deploy, "install", *SINGLE)
    layout = machine.layout
    async with await connect(config=layout.config, service="mts1b-oms", ping_interval=60, connect_timeout=20) as bus:
        Pki(layout.pki).revoke("mts1b-brokers")
        await asyncio.to_thread(machine.deploy, "install", "--profile", "single")
        assert bus.is_connected
        assert bus.counters.disconnects == 0
