"""Status, logs, uninstall, help, and what is printed where."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mts1b_deploy.errors import PrefixError
from mts1b_deploy.layout import Layout, layout_of
from mts1b_deploy.logs import follow, last_lines, parse
from mts1b_deploy.profiles import PROFILES
from mts1b_deploy.render import render_unit
from mts1b_deploy.testing import Machine

PUBLISH = """
import asyncio, nats
from mts1b_platform.config import Settings
async def main():
    nc = await nats.connect(Settings.load().servers[0])
    ack = await nc.jetstream().publish("mts.v1.oms.orders.created", b"kept")
    print(ack.stream, ack.seq)
    await nc.close()
asyncio.run(main())
"""

COMMANDS = [
    *("install", "plan", "start", "stop", "restart", "status", "logs", "uninstall"),
    *("upgrade", "backup", "restore", "doctor", "render"),
]


def test_status_tells_everything(machine: Machine):
    machine.deploy("install")
    status = machine.json("status")
    assert status["profile"] == "minimal"
    assert status["prefix"] == str(machine.prefix)
    assert (status["running"], status["supervised"], status["healthy"]) == (True, True, True)
    assert status["url"] == machine.url
    assert status["monitor"] == f"http://127.0.0.1:{machine.monitor_port}"
    assert status["jetstream"] is True
    assert status["store_dir"].startswith(str(machine.prefix))
    assert status["uptime_seconds"] >= 0
    assert "OMS_ORDERS" in {stream["name"] for stream in status["streams"]}
    assert any("no authentication" in warning for warning in status["warnings"])
    text = machine.deploy("status").stdout
    for part in (machine.url, status["version"], str(status["pid"]), "OMS_ORDERS", "healthy"):
        assert part in text
    assert "\x1b[" not in text


def test_status_counts_what_is_in_the_streams(machine: Machine):
    machine.deploy("install")
    assert machine.python(PUBLISH) == "OMS_ORDERS 1\n"
    orders = next(one for one in machine.json("status")["streams"] if one["name"] == "OMS_ORDERS")
    assert orders["messages"] == 1
    assert orders["bytes"] > 0


@pytest.mark.parametrize("command", ["start", "stop", "restart", "status", "logs", "uninstall"])
def test_without_an_installation_every_command_says_what_to_run(machine: Machine, command: str):
    error = machine.deploy(command, code=4).stderr
    assert str(machine.prefix) in error
    assert machine.files() == {}
    assert not machine.prefix.exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_examples(machine: Machine, command: str):
    text = machine.deploy(command, "--help").stdout
    assert "Examples:" in text
    assert f"mts1b-deploy {command}" in text


def test_uninstall_keeps_the_data_and_the_next_install_finds_it(machine: Machine):
    machine.deploy("install")
    machine.python(PUBLISH)
    done = machine.json("uninstall")
    assert done["state"] == "stopped"
    assert not machine.processes()
    assert all(name.startswith(".local/share/mts1b/data/") for name in machine.files())
    assert [Path(kept["path"]) for kept in done["kept"]] == [machine.layout.data]
    machine.deploy("install")
    assert machine.python(PUBLISH) == "OMS_ORDERS 2\n"


def test_uninstall_purge_leaves_nothing(machine: Machine):
    machine.deploy("install")
    machine.deploy("uninstall", "--purge")
    assert machine.files() == {}
    assert not machine.processes()
    assert not machine.prefix.exists()


def test_data_that_was_kept_can_be_purged_later(machine: Machine):
    machine.deploy("install")
    machine.deploy("uninstall")
    assert "--purge deletes it" in machine.deploy("uninstall", code=4).stderr
    machine.deploy("uninstall", "--purge")
    assert not machine.prefix.exists()


def test_purge_never_deletes_a_directory_that_is_not_ours(machine: Machine):
    (machine.home / "data").mkdir()
    (machine.home / "data" / "thesis.txt").write_text("years of work")
    machine.deploy("uninstall", "--purge", "--prefix", str(machine.home), code=4)
    error = machine.deploy("install", "--prefix", str(machine.home), code=1).stderr
    assert str(machine.home / "data") in error
    assert machine.files() == {"data/thesis.txt": b"years of work"}


def test_uninstall_keeps_files_that_were_edited_and_says_so(machine: Machine):
    machine.deploy("install")
    with machine.user_config.open("a") as file:
        file.write("# mine\n")
    done = machine.json("uninstall", "--purge")
    assert {"path": str(machine.user_config), "reason": "edited since it was installed"} in done["kept"]
    assert list(machine.files()) == [".config/mts1b/mts1b.toml"]


def test_uninstall_leaves_strangers_files_under_the_prefix(machine: Machine):
    machine.deploy("install")
    (machine.prefix / "bin" / "other-tool").write_text("x")
    machine.deploy("uninstall", "--purge")
    assert list(machine.files()) == [".local/share/mts1b/bin/other-tool"]


def test_logs_show_the_last_lines_as_text_and_as_json(machine: Machine):
    machine.deploy("install")
    assert len(machine.deploy("logs", "-n", "3").stdout.splitlines()) == 3
    assert machine.deploy("logs", "-n", "0").stdout == ""
    lines = [json.loads(line) for line in machine.deploy("logs", "--json").stdout.splitlines()]
    ready = next(line for line in lines if line["text"] == "Server is ready")
    assert (ready["source"], ready["level"]) == ("server", "INF")
    assert ready["time"].endswith("Z")
    supervisor = machine.deploy("logs", "--source", "supervisor", "--json", "-n", "1").stdout
    assert json.loads(supervisor)["text"].startswith("started the server")


def test_logs_follow_what_is_written(machine: Machine):
    machine.deploy("install")
    with machine.begin("logs", "-f", "-n", "1") as following:
        assert following.stdout is not None
        first = following.stdout.readline()
        assert first
        machine.deploy("stop")
        while "Server Exiting" not in following.stdout.readline():
            pass
        following.terminate()
        assert following.wait(10) == 130


def test_following_goes_over_a_rotation_without_losing_a_line(tmp_path: Path):
    layout = Layout(tmp_path)
    layout.logs.mkdir()
    layout.nats_log.write_text("1\n2\n")
    past, offset = last_lines(layout, "server", 1)
    assert past == ["2"]
    lines = follow(layout, "server", offset)
    with layout.nats_log.open("a") as file:
        file.write("3\n")
    assert next(lines) == "3"
    with layout.nats_log.open("a") as file:
        file.write("4\n")
    layout.nats_log.rename(layout.logs / "nats.log.1")
    layout.nats_log.write_text("5\n")
    assert [next(lines), next(lines)] == ["4", "5"]


def test_a_line_of_another_form_is_kept_whole():
    line = parse("output", "goroutine 1 [running]:")
    assert (line.text, line.time, line.level) == ("goroutine 1 [running]:", None, None)


def test_a_log_that_is_not_there_yet_is_an_error_with_a_remedy(machine: Machine):
    machine.deploy("install")
    machine.deploy("stop")
    machine.layout.nats_output.unlink(missing_ok=True)
    error = machine.deploy("logs", "--source", "output", code=1).stderr
    assert "there is no log" in error


def test_a_reader_that_leaves_early_is_no_error(machine: Machine):
    machine.deploy("install")
    piped = subprocess.run(
        ["/bin/sh", "-c", f"{sys.executable} -m mts1b_deploy logs -n 1000 | head -1"],
        env=machine.environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert piped.stdout.count("\n") == 1
    assert piped.stderr == ""


def test_the_default_places_follow_xdg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    layout = layout_of(None)
    assert layout.prefix == tmp_path / "data" / "mts1b"
    assert layout.unit == tmp_path / "config" / "systemd" / "user" / "mts1b-nats.service"
    assert layout_of(tmp_path / "other").unit_name != layout.unit_name


def test_the_systemd_unit_runs_the_server_and_passes_systemds_own_check(tmp_path: Path):
    layout = Layout(tmp_path / "a b %n é")
    layout.binary.parent.mkdir(parents=True)
    layout.binary.write_text("#!/bin/sh\n")
    layout.binary.chmod(0o755)
    unit = tmp_path / layout.unit_name
    unit.write_text(render_unit(layout, PROFILES["minimal"]))
    escaped = str(layout.prefix).replace("%", "%%")
    assert f'ExecStart="{escaped}/bin/nats-server" -c "{escaped}/etc/nats.conf"\n' in unit.read_text()
    if (analyze := shutil.which("systemd-analyze")) is None:
        return  # not Debian with systemd: nobody here can check more than the text
    checked = subprocess.run(
        [analyze, "verify", "--user", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        check=False,
        env={"XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_the_unit_of_the_machine_locks_the_server_in_and_passes_systemds_own_check(tmp_path: Path):
    layout = Layout(tmp_path / "a b")
    layout.binary.parent.mkdir(parents=True)
    layout.binary.write_text("#!/bin/sh\n")
    layout.binary.chmod(0o755)
    unit = tmp_path / layout.unit_name
    unit.write_text(render_unit(layout, PROFILES["production"], system=True))
    for line in ("CapabilityBoundingSet=", "ProtectSystem=strict", f'ReadWritePaths="{layout.data}"'):
        assert f"{line}\n" in unit.read_text()
    if (analyze := shutil.which("systemd-analyze")) is None:
        return  # not Debian with systemd: nobody here can check more than the text
    checked = subprocess.run([analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False)
    assert (checked.returncode, [line for line in checked.stderr.splitlines() if unit.name in line]) == (0, [])
    judged = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=30", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert judged.returncode == 0, judged.stdout + judged.stderr


@pytest.mark.parametrize("character", ['"', "'", "\\", "$"])
def test_a_prefix_that_systemd_cannot_run_from_is_refused(tmp_path: Path, character: str):
    with pytest.raises(PrefixError, match="--supervisor detached"):
        render_unit(Layout(tmp_path / f"a{character}b"), PROFILES["minimal"])


def test_systemd_is_refused_where_its_user_manager_does_not_run(machine: Machine):
    machine.environ["XDG_RUNTIME_DIR"] = str(machine.home)
    machine.environ.pop("DBUS_SESSION_BUS_ADDRESS", None)
    error = machine.deploy("install", "--supervisor", "systemd", code=2).stderr
    assert "no systemd user manager answers" in error
    assert "--supervisor detached" in error


def test_completion_is_there(machine: Machine):
    machine.environ["_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION"] = "1"
    assert "mts1b" in machine.deploy("--show-completion", "bash").stdout
