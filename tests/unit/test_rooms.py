"""Which room a test is in says what it needs: ``unit`` nothing, ``server`` or ``browser`` one, the others more."""

import asyncio
import multiprocessing
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = {"unit", "server", "system", "browser", "hosts", "machine", "sources"}


def run() -> None:
    subprocess.run([sys.executable, "-c", ""], check=True)


async def launched() -> None:
    await asyncio.create_subprocess_exec(sys.executable, "-c", "")


def start() -> None:
    asyncio.run(launched())


def fork() -> None:
    multiprocessing.get_context("fork").Process(target=int).start()


def connect() -> None:
    socket.create_connection(("127.0.0.1", 9), timeout=1)


def connect_in_a_loop() -> None:
    asyncio.run(asyncio.open_connection("127.0.0.1", 9))


def listen() -> None:
    socket.create_server(("127.0.0.1", 0))


@pytest.mark.parametrize("begin", [run, start, fork, connect, connect_in_a_loop, listen])
def test_in_a_unit_room_nothing_is_started(begin: Callable[[], None]):
    with pytest.raises(pytest.fail.Exception, match="move it to the room `server`"):
        begin()


def test_every_test_is_in_a_room():
    places = [ROOT / "tests", *ROOT.glob("packages/*/tests")]
    files = [path.relative_to(place) for place in places for path in place.rglob("test_*.py")]
    assert len(files) > 100
    astray = [path for path in files if path.parts[0] not in ROOMS]
    assert astray == [], f"move them to {', '.join(sorted(ROOMS))}"
