"""What ``mts1b-deploy install`` promises: it works, it can be repeated, and a failure leaves nothing behind."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from mts1b_deploy.supervise.processes import find_server_process
from mts1b_deploy.testing import Machine
from mts1b_platform.testing.ports import free_ports

CONNECT = """
import asyncio
from mts1b_platform.eventbus import connect
async def main():
    bus = await connect()
    print(bus.connected_url, len(await bus.jetstream().streams_info()))
    await bus.close()
asyncio.run(main())
"""

pytestmark = pytest.mark.slow(seconds=1)  # each test is an installation of its own: half a second to three


def program(path: Path, text: str) -> Path:
    """A program that passes for a new enough nats-server until it is started."""
    path.write_text(f'#!/bin/sh\ncase "$1" in --version) echo nats-server: v2.99.0; exit;; -t) exit 0;; esac\n{text}\n')
    path.chmod(0o755)
    return path


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)


def assert_nothing_left(machine: Machine, before: dict[str, bytes]) -> None:
    assert machine.files() == before
    assert not machine.processes()


def test_after_an_install_connect_without_arguments_works(machine: Machine):
    done = machine.deploy("install", "--profile", "minimal", "--include", "nats")
    assert "no authentication: development only" in done.stderr
    server, streams = machine.python(CONNECT).split()
    assert server == f"nats://127.0.0.1:{machine.port}"
    assert int(streams) >= 5


def test_the_server_listens_on_loopback_and_nowhere_else(machine: Machine):
    machine.deploy("install")
    server = find_server_process(machine.layout)
    assert server is not None
    listening = {
        (connection.laddr.ip, connection.laddr.port)
        for connection in server.net_connections()
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {("127.0.0.1", machine.port), ("127.0.0.1", machine.monitor_port)}


def test_a_second_install_changes_nothing(machine: Machine):
    assert machine.json("install")["changed"] is True
    server, files = find_server_process(machine.layout), machine.files()
    written = {path: path.stat().st_mtime_ns for path in (machine.prefix / "etc").iterdir()}
    second = machine.json("install")
    assert second["changed"] is False
    assert {file["action"] for file in second["files"] + second["streams"]} == {"unchanged"}
    assert "unchanged: everything was as it should be" in machine.deploy("install").stdout
    assert find_server_process(machine.layout) == server
    assert {path: path.stat().st_mtime_ns for path in (machine.prefix / "etc").iterdir()} == written
    kept = {name for name in files if "/data/" not in name and "/log/" not in name and "/run/" not in name}
    assert {name: machine.files()[name] for name in kept} == {name: files[name] for name in kept}


def test_a_second_install_without_ports_keeps_those_of_the_first(machine: Machine):
    machine.deploy("install")
    done = subprocess.run(
        [*machine.command("status")[:-1], "install", "--json"],
        env=machine.environ,
        cwd=machine.home,
        capture_output=True,
        text=True,
        check=True,
    )
    assert machine.url in done.stdout
    assert '"changed": false' in done.stdout


def test_a_dry_run_tells_and_writes_nothing(machine: Machine):
    before = machine.files()
    plan = machine.json("install", "--dry-run")
    assert [file["action"] for file in plan["files"]] == ["created"] * 4
    assert "dry run" in machine.deploy("install", "--plan").stdout
    assert_nothing_left(machine, before)
    assert not machine.prefix.exists()


def test_a_prefix_with_awkward_characters_works(machine: Machine):
    prefix = machine.home / 'a "b" $c %d \\e é'
    machine.deploy("install", "--prefix", str(prefix))
    assert machine.json("status", "--prefix", str(prefix))["healthy"] is True
    machine.deploy("uninstall", "--purge", "--prefix", str(prefix))
    assert not prefix.exists()


@pytest.mark.parametrize("option", ["--port", "--monitor-port"])
def test_a_taken_port_is_named_with_its_holder_and_nothing_is_left(machine: Machine, option: str):
    before = machine.files()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        error = machine.deploy("install", option, str(port), code=1).stderr
    assert f"port {port} on 127.0.0.1 is taken by" in error
    assert f"pid {os.getpid()}" in error
    assert option in error
    assert_nothing_left(machine, before)
    assert not machine.prefix.exists()


def test_a_prefix_that_is_a_file_is_refused(machine: Machine):
    (machine.home / "file").write_text("mine")
    before = machine.files()
    for prefix in ("file", "file/below"):
        error = machine.deploy("install", "--prefix", str(machine.home / prefix), code=1).stderr
        assert str(machine.home / "file") in error
        assert "--prefix" in error
    assert_nothing_left(machine, before)


def test_a_prefix_without_permission_is_refused_and_named(machine: Machine):
    # A directory in which even root may not create anything.
    error = machine.deploy("install", "--prefix", "/proc/mts1b", code=1).stderr
    assert "/proc/mts1b" in error
    assert "--prefix" in error
    assert_nothing_left(machine, {})


@pytest.mark.parametrize("blocked", [".local/share/mts1b/etc", ".local/share/mts1b/bin", ".config/mts1b"])
def test_something_in_the_way_is_named_and_everything_else_taken_back(machine: Machine, blocked: str):
    (machine.home / blocked).parent.mkdir(parents=True)
    (machine.home / blocked).write_text("in the way")
    before = machine.files()
    error = machine.deploy("install", code=1).stderr
    assert str(machine.home / blocked) in error
    assert_nothing_left(machine, before)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"profile = \n", "line 1"),
        (b"nats = 3\n", "should be a table [nats]"),
        (b"[nats]\nservers = 4\n", "list of NATS URLs"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_a_corrupt_mts1b_toml_is_named_and_left_alone(machine: Machine, text: bytes, said: str):
    for path in (machine.user_config, machine.layout.config):
        path.parent.mkdir(parents=True)
        path.write_bytes(text)
        before = machine.files()
        error = machine.deploy("install", code=1).stderr
        assert said in error
        assert str(path) in error
        assert_nothing_left(machine, before)
        path.unlink()


def test_a_setting_that_the_bus_does_not_know_fails_the_install_and_is_named(machine: Machine):
    machine.layout.config.parent.mkdir(parents=True)
    machine.layout.config.write_text("bogus = 1\n")
    before = machine.files()
    assert "unknown setting 'bogus'" in machine.deploy("install", code=1).stderr
    assert_nothing_left(machine, before)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--profile", "huge"), "no profile 'huge'"),
        (("--include", "nats,tea"), "no part 'tea'"),
        (("--include", ","), "names no part"),
        (("--supervisor", "cron"), "no supervisor 'cron'"),
        (("--port", "70000"), "--port 70000 is no TCP port"),
        (("--port", "7000", "--monitor-port", "7000"), "choose different ports"),
        (("--prefix", "a\tb"), "control characters"),
    ],
)
def test_what_does_not_exist_is_refused_with_what_does(machine: Machine, arguments: tuple[str, ...], said: str):
    done = machine.deploy("install", *arguments, code=None)
    assert done.returncode in {1, 2}
    assert said in done.stderr
    assert_nothing_left(machine, {})


def test_a_server_that_is_too_old_is_refused(machine: Machine, tmp_path: Path):
    old = tmp_path / "old"
    old.write_text("#!/bin/sh\necho nats-server: v2.10.0\n")
    old.chmod(0o755)
    assert "2.14.5 is needed" in machine.deploy("install", "--nats-server", str(old), code=1).stderr
    assert_nothing_left(machine, {})


def test_a_server_that_does_not_come_up_is_quoted_and_taken_back(machine: Machine, tmp_path: Path):
    broken = program(tmp_path / "broken", "echo the disk is on fire >&2; exit 7")
    error = machine.deploy("install", "--nats-server", str(broken), code=1).stderr
    assert "ends as soon as it is started" in error
    assert "the disk is on fire" in error
    assert_nothing_left(machine, {})
    assert not machine.prefix.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_install_takes_back_what_it_wrote(machine: Machine, tmp_path: Path, number: int):
    mute = program(tmp_path / "mute", "trap 'exit 0' TERM; while :; do sleep 0.05; done")
    with machine.begin("install", "--nats-server", str(mute)) as running:
        wait_for(lambda: find_server_process(machine.layout) is not None)
        running.send_signal(number)
        assert running.wait(30) == 130
    assert_nothing_left(machine, {})
    assert not machine.prefix.exists()


def test_an_install_after_one_that_was_killed_finishes_the_job(machine: Machine):
    machine.deploy("install")
    machine.layout.record.unlink()  # written last: without it the install was cut off
    machine.clean_up()
    assert machine.json("install")["state"] == "started"
    assert machine.json("status")["healthy"] is True
    machine.deploy("uninstall", "--purge")
    assert_nothing_left(machine, {})


def test_streams_that_cannot_be_applied_fail_the_install_and_keep_the_data(machine: Machine):
    machine.deploy("install")
    machine.python("""
import asyncio, nats
from mts1b_platform.config import Settings
async def main():
    nc = await nats.connect(Settings.load().servers[0])
    js = nc.jetstream()
    await js.delete_stream("OMS_ORDERS")
    await js.add_stream(name="OMS_ORDERS", subjects=["mts.v1.oms.orders.*"], retention="workqueue")
    await js.publish("mts.v1.oms.orders.created", b"kept")
    await nc.close()
asyncio.run(main())
""")
    machine.deploy("uninstall")
    left = set(machine.files())
    error = machine.deploy("install", code=1).stderr
    assert "OMS_ORDERS" in error
    assert not machine.processes()
    assert not machine.user_config.exists()
    assert not machine.layout.nats_conf.exists()
    assert {name for name in left if name.endswith(".blk")} <= set(machine.files())


def test_two_installs_at_once_make_one_installation(machine: Machine):
    running = [machine.begin("install", "--json") for _ in range(3)]
    outcomes = [process.communicate(timeout=300) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], outcomes
    changed = ['"changed": true' in printed for printed, _ in outcomes]
    assert changed.count(True) == 1
    servers = [process for process in machine.processes() if process.name() == "nats-server"]
    assert len(servers) == 1


def test_another_port_moves_the_server_and_keeps_edits_and_data(machine: Machine):
    machine.deploy("install")
    edited = machine.user_config.read_text() + '\n# my own remark\nservice = "mts1b-oms"\n'
    machine.user_config.write_text(
        edited.replace("[nats]", 'actor = "me" # stays\n[nats]').replace('\nservice = "mts1b-oms"', "")
    )
    port, monitor_port = free_ports(2)
    result = machine.json("install", "--port", str(port), "--monitor-port", str(monitor_port))
    assert result["changed"] is True
    assert result["url"] == f"nats://127.0.0.1:{port}"
    text = machine.user_config.read_text()
    assert f"nats://127.0.0.1:{port}" in text
    assert f"http://127.0.0.1:{monitor_port}" in text
    assert str(machine.port) not in text
    assert 'actor = "me" # stays' in text
    assert "# my own remark" in text
    assert machine.python(CONNECT).startswith(f"nats://127.0.0.1:{port} ")


def test_a_move_to_a_taken_port_leaves_the_old_server_running(machine: Machine):
    machine.deploy("install")
    before, server = machine.layout.nats_conf.read_bytes(), find_server_process(machine.layout)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        machine.deploy("install", "--port", str(taken.getsockname()[1]), code=1)
    assert machine.layout.nats_conf.read_bytes() == before
    assert find_server_process(machine.layout) == server


def test_an_upgrade_that_fails_brings_the_old_server_back(machine: Machine, tmp_path: Path):
    machine.deploy("install")
    binary = machine.layout.binary.read_bytes()
    broken = program(tmp_path / "broken", "exit 1")
    machine.deploy("install", "--nats-server", str(broken), code=1)
    assert machine.layout.binary.read_bytes() == binary
    assert machine.json("status")["problems"] == []


def test_an_edited_nats_conf_is_kept_until_it_would_have_to_change(machine: Machine):
    machine.deploy("install")
    edited = machine.layout.nats_conf.read_text() + "max_payload: 2MB\n"
    machine.layout.nats_conf.write_text(edited)
    assert machine.json("install")["changed"] is False
    (port,) = free_ports(1)
    error = machine.deploy("install", "--port", str(port), code=1).stderr
    assert "nats.conf is in the way: it was edited since it was installed" in error
    assert machine.layout.nats_conf.read_text() == edited
    machine.deploy("install", "--port", str(port), "--overwrite")
    assert "max_payload" not in machine.layout.nats_conf.read_text()


def test_a_strangers_file_is_not_overwritten(machine: Machine):
    machine.layout.binary.parent.mkdir(parents=True)
    machine.layout.binary.write_text("precious")
    before = machine.files()
    assert "was not written by mts1b-deploy" in machine.deploy("install", code=1).stderr
    assert_nothing_left(machine, before)


def test_a_config_that_leads_elsewhere_stays_and_is_mentioned(machine: Machine):
    machine.user_config.parent.mkdir(parents=True)
    machine.user_config.write_text('[nats]\nservers = ["nats://bus.example:4222"]\n')
    done = machine.deploy("install")
    assert f"MTS1B_NATS_URL={machine.url}" in done.stderr
    assert machine.user_config.read_text() == '[nats]\nservers = ["nats://bus.example:4222"]\n'


def test_a_config_of_the_users_own_gains_the_server_and_survives_uninstall(machine: Machine):
    machine.user_config.parent.mkdir(parents=True)
    machine.user_config.write_text('# mine\nactor = "me"\n')
    machine.deploy("install")
    assert machine.python(CONNECT).startswith(f"nats://127.0.0.1:{machine.port} ")
    machine.deploy("uninstall")
    assert machine.user_config.read_text().startswith('# mine\nactor = "me"\n')


def test_a_damaged_record_is_named_with_the_remedy(machine: Machine):
    machine.deploy("install")
    machine.layout.record.write_text("{")
    for command in ("install", "status", "stop", "uninstall"):
        error = machine.deploy(command, code=1).stderr
        assert "install.json" in error
        assert "Remove it" in error
    machine.layout.record.unlink()
    assert machine.json("install")["changed"] is True
