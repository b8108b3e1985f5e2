"""What keeps the server running, through crashes of the server, of the supervisor, and of both."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import psutil
import pytest
from mts1b_deploy.supervise.processes import (
    find_server_process,
    find_supervisor_process,
    supervisor_command,
)
from mts1b_deploy.supervise.state import SupervisorState, read_state
from mts1b_deploy.testing import Machine

pytestmark = pytest.mark.slow(seconds=1)  # each test is an installation of its own: half a second to three


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)


def server_of(machine: Machine) -> psutil.Process:
    found = find_server_process(machine.layout)
    assert found is not None, "no server runs"
    return found


def supervisor_of(machine: Machine) -> psutil.Process:
    found = find_supervisor_process(machine.layout)
    assert found is not None, "no supervisor runs"
    return found


def state_of(machine: Machine) -> SupervisorState:
    found = read_state(machine.layout)
    assert found is not None, "the supervisor tells nothing"
    return found


def servers_of(machine: Machine) -> list[psutil.Process]:
    return [process for process in machine.processes() if process.name() == "nats-server"]


def kill(process: psutil.Process) -> None:
    process.kill()
    wait_for(lambda: _is_gone(process))


def _is_gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def installed(machine: Machine) -> Machine:
    machine.deploy("install")
    return machine


def test_a_killed_server_comes_back_with_its_streams(installed: Machine):
    before = installed.json("status")
    kill(server_of(installed))
    wait_for(lambda: installed.json("status", code=None)["healthy"])
    after = installed.json("status")
    assert after["restarts"] == 1
    assert after["pid"] != before["pid"]
    assert after["streams"] == before["streams"] != []
    assert "killed by SIGKILL" in installed.deploy("logs", "--source", "supervisor").stdout


def test_a_server_that_is_killed_again_and_again_comes_back_each_time(installed: Machine):
    for _ in range(3):
        pid = server_of(installed).pid
        kill(server_of(installed))
        wait_for(lambda pid=pid: (found := find_server_process(installed.layout)) is not None and found.pid != pid)
    assert state_of(installed).restarts == 3
    assert len(servers_of(installed)) == 1


def test_a_killed_supervisor_is_reported_and_start_heals_it_under_the_running_server(installed: Machine):
    server = server_of(installed)
    kill(supervisor_of(installed))
    status = installed.json("status", code=1)
    assert status["running"] is True
    assert status["supervised"] is False
    assert "nobody supervises the server" in status["problems"][0]
    assert "mts1b-deploy start" in status["problems"][0]
    assert "supervised again" in installed.deploy("start").stdout
    assert installed.json("status")["pid"] == server.pid
    assert len(servers_of(installed)) == 1
    assert state_of(installed).server_pid == server.pid
    assert state_of(installed).restarts == 0
    # The new supervisor is a real one: it notices the end of a server that it did not start.
    kill(server)
    wait_for(lambda: find_server_process(installed.layout) is not None)


def test_an_install_heals_a_killed_supervisor_too(installed: Machine):
    server = server_of(installed)
    kill(supervisor_of(installed))
    assert installed.json("install")["state"] == "supervised again"
    assert servers_of(installed) == [server]


def test_a_stop_ends_a_server_without_supervisor(installed: Machine):
    kill(supervisor_of(installed))
    installed.deploy("stop")
    assert not installed.processes()


def test_after_both_were_killed_status_says_stopped_and_start_starts(installed: Machine):
    kill(supervisor_of(installed))
    kill(server_of(installed))
    assert installed.json("status", code=3)["running"] is False
    assert "started" in installed.deploy("start").stdout
    assert installed.json("status")["healthy"] is True


def test_a_pid_that_now_belongs_to_a_stranger_is_left_alone(installed: Machine):
    installed.deploy("stop")
    with subprocess.Popen(["/bin/sleep", "600"]) as stranger:
        installed.layout.nats_pid.write_text(str(stranger.pid))
        installed.layout.supervisor_state.write_text(
            f'{{"supervisor_pid": {stranger.pid}, "phase": "running", "server_pid": {stranger.pid}, '
            f'"restarts": 9, "last_exit": null}}'
        )
        assert installed.json("status", code=3)["running"] is False
        assert "not running" in installed.deploy("stop").stdout
        installed.layout.nats_pid.write_text(str(stranger.pid))
        installed.deploy("start")
        assert server_of(installed).pid != stranger.pid
        installed.deploy("uninstall", "--purge")
        assert stranger.poll() is None
        stranger.kill()


def test_a_server_whose_pid_file_was_lost_is_still_found(installed: Machine):
    server = server_of(installed)
    installed.layout.nats_pid.unlink()
    assert installed.json("status")["pid"] == server.pid
    assert "already running" in installed.deploy("start").stdout
    installed.deploy("stop")
    assert not installed.processes()


def test_start_stop_and_restart_can_be_repeated(installed: Machine):
    first = server_of(installed).pid
    assert "already running" in installed.deploy("start").stdout
    assert server_of(installed).pid == first
    installed.deploy("restart")
    assert server_of(installed).pid != first
    assert "stopped" in installed.deploy("stop").stdout
    assert "not running" in installed.deploy("stop").stdout
    assert not installed.processes()
    assert "Server Exiting" in installed.deploy("logs").stdout
    installed.deploy("restart")
    assert installed.json("status")["healthy"] is True


def test_starts_at_once_make_one_server(installed: Machine):
    installed.deploy("stop")
    running = [installed.begin("start") for _ in range(3)]
    outcomes = [process.communicate(timeout=300) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], outcomes
    assert len(servers_of(installed)) == 1


def test_a_second_supervisor_refuses_to_run(installed: Machine):
    again = subprocess.run(
        supervisor_command(installed.layout), env=installed.environ, timeout=300, check=False, capture_output=True
    )
    assert again.returncode == 3
    assert len(servers_of(installed)) == 1


def test_a_frozen_server_is_a_problem_that_restart_solves(installed: Machine):
    server_of(installed).suspend()
    assert "does not answer" in installed.json("status", code=1)["problems"][0]
    installed.deploy("restart")
    assert "Server Exiting" in installed.layout.nats_log.read_text()  # gracefully, not killed
    assert installed.json("status")["healthy"] is True
    assert len(servers_of(installed)) == 1


def test_a_frozen_supervisor_does_not_keep_stop_from_stopping_gracefully(installed: Machine):
    supervisor_of(installed).suspend()
    done = installed.deploy("stop")
    assert "stopped" in done.stdout
    assert done.stderr == ""
    assert not installed.processes()


def test_a_server_that_ignores_the_request_is_killed_after_the_time_budget(installed: Machine):
    installed.deploy("stop")
    installed.layout.binary.write_text("#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 0.1; done\n")
    with subprocess.Popen(
        supervisor_command(installed.layout), env=installed.environ, start_new_session=True
    ) as supervisor:
        wait_for(lambda: find_server_process(installed.layout) is not None)
        began = time.monotonic()
        done = installed.deploy("stop", "--timeout", "1")
        assert time.monotonic() - began < 45  # not the minute that the supervisor itself would give it
        assert "did not end within 1 s and was killed" in done.stderr
        assert supervisor.wait(60) == -signal.SIGKILL
    assert find_server_process(installed.layout) is None


def test_a_configuration_that_the_server_refuses_is_quoted_and_nothing_is_left_running(installed: Machine):
    good = installed.layout.nats_conf.read_text()
    installed.layout.nats_conf.write_text(good + "nonsense: true\n")
    error = installed.deploy("restart", code=1).stderr
    assert 'unknown field "nonsense"' in error
    assert not installed.processes()
    installed.layout.nats_conf.write_text(good)
    installed.deploy("start")


def test_a_port_that_was_taken_meanwhile_is_named(installed: Machine):
    installed.deploy("stop")
    listen = (
        f"import socket, time; s = socket.create_server(('127.0.0.1', {installed.port})); "
        f"print(1, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", listen], stdout=subprocess.PIPE) as blocker:
        assert blocker.stdout is not None
        blocker.stdout.readline()
        error = installed.deploy("start", code=1).stderr
        blocker.kill()
    assert f"port {installed.port} on 127.0.0.1 is taken by" in error
    assert f"pid {blocker.pid}" in error
    assert not installed.processes()


def test_the_server_outlives_the_command_and_its_session(machine: Machine):
    done = subprocess.run(
        machine.command("install"), env=machine.environ, capture_output=True, start_new_session=True, check=True
    )
    assert done.returncode == 0
    server, supervisor = server_of(machine), supervisor_of(machine)
    assert server.ppid() == supervisor.pid
    assert os.getsid(supervisor.pid) == supervisor.pid


def test_a_hangup_of_the_supervisor_reloads_the_servers_configuration(installed: Machine):
    supervisor_of(installed).send_signal(signal.SIGHUP)
    wait_for(lambda: "Reloaded server configuration" in installed.layout.nats_log.read_text())
    assert installed.json("status")["healthy"] is True


def test_a_storm_of_signals_does_not_make_the_supervisor_deaf(installed: Machine):
    supervisor, server = supervisor_of(installed), server_of(installed)
    until = time.monotonic() + 1.0
    while time.monotonic() < until:
        for number in (signal.SIGSTOP, signal.SIGCONT):
            os.kill(server.pid, number)
        os.kill(supervisor.pid, signal.SIGCHLD)
    done = installed.deploy("stop")
    assert "stopped" in done.stdout
    assert done.stderr == ""
