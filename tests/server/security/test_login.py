"""The commands that let people in, as processes: keys made, responder serving, a token issued, logged in, used."""

import asyncio
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from locked_server import PATIENCE, SPEC_READER, Locked, started
from mts1b_deploy.secure import Callout
from mts1b_platform.testing.programs import run_program

MTS1B = Path(sys.executable).with_name("mts1b")


class Commands:
    """Runs ``mts1b`` to its end: the first command as a process, the others forked from one that has it imported."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._first = True

    async def __call__(self, *arguments: Any, environment: dict[str, str], stdin: str = "", code: int = 0) -> str:
        words, environ = [str(word) for word in arguments], {**os.environ, **environment}
        done = await asyncio.to_thread(self._forked if not self._first else self._started, words, environ, stdin)
        self._first = False
        assert done.returncode == code, (done.stdout, done.stderr)
        return done.stdout if code == 0 else done.stderr

    def _started(self, words: list[str], environ: dict[str, str], stdin: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [MTS1B, *words], env=environ, input=stdin, capture_output=True, text=True, timeout=PATIENCE, check=False
        )

    def _forked(self, words: list[str], environ: dict[str, str], stdin: str) -> subprocess.CompletedProcess[str]:
        return run_program(
            "mts1b_platform.cli:main", ["mts1b", *words],
            environ=environ, cwd=self._directory, scratch=self._directory, stdin=stdin,
        )  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Commands:
    return Commands(tmp_path)


async def test_a_person_logs_in_by_the_commands(run: Commands, tmp_path: Path):
    keys, place = tmp_path / "auth", tmp_path / "home" / "token"
    nowhere = {"MTS1B_CONFIG": "", "XDG_CONFIG_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)}
    await run("auth", "init", "--dir", keys, environment=nowhere)
    assert "unchanged" in await run("auth", "init", "--dir", keys, environment=nowhere)
    callout = Callout.read(keys / "callout.json")
    async with started(Locked(tmp_path, callout=callout, websocket=True)) as locked:
        service = {**nowhere, "MTS1B_CONFIG": str(locked.empty_config()), "MTS1B_NATS_URL": locked.url}
        responder = await asyncio.create_subprocess_exec(
            MTS1B, "auth", "serve", "--dir", keys, env={**os.environ, **service}, stdout=asyncio.subprocess.PIPE
        )
        try:
            assert responder.stdout is not None
            assert b"answering" in await asyncio.wait_for(responder.stdout.readline(), PATIENCE)
            token = await run("token", "issue", "alice", "--role", "trader", "--dir", keys, environment=nowhere)
            person = {**nowhere, "MTS1B_NATS_URL": locked.websocket_url, "MTS1B_TLS_CA": str(locked.pki.ca)}
            said = await run("login", "--out", place, environment=person, stdin=token)
            assert said.startswith("logged in as alice")
            assert token.strip() not in said
            assert stat.S_IMODE(place.stat().st_mode) == 0o600
            shown = await run("token", "show", place, environment=nowhere)
            assert "alice" in shown
            assert "trader" in shown
            assert token.strip() not in shown
            refused = await run("login", "--out", place, environment=person, stdin=token[:-9] + "AAAAAAA\n", code=1)
            assert "refuses this identity" in refused
            assert token[:20] not in refused
            assert place.read_text() == token
            laptop = tmp_path / "laptop"
            laptop.mkdir()
            run_there = Commands(laptop)
            elsewhere = {"MTS1B_CONFIG": "", "XDG_CONFIG_HOME": str(laptop), "HOME": str(laptop)}
            where = ("--servers", locked.websocket_url, "--ca", locked.pki.ca)
            assert "now leads to" in await run_there("login", *where, environment=elsewhere, stdin=token)
            assert "no halt is in force" in await run_there("halt", "ls", environment=elsewhere)
            assert "logged in as alice" in await run_there("login", environment=elsewhere, stdin=token)
        finally:
            responder.terminate()
            await asyncio.wait_for(responder.wait(), PATIENCE)
        assert responder.returncode == 0


async def test_administration_and_operations_commands_find_their_certificates(run: Commands, tmp_path: Path):
    async with started(Locked(tmp_path)) as locked:
        environment = {"MTS1B_CONFIG": str(locked.empty_config()), "MTS1B_NATS_URL": locked.url}
        applied = await run("streams", "apply", "--checkout", str(SPEC_READER), environment=environment)
        assert "unchanged  OMS_ORDERS, durable my-consumer of mts1b-treasury" in applied
        assert "my-consumer" in await run("lag", environment=environment)
        planned = ("streams", "plan", "--json", "--checkout", str(SPEC_READER))
        assert '"durable": "my-consumer"' in await run(*planned, environment=environment)
        sure = ("--declared", "--reason", "a test", "--confirm", "OMS_ORDERS/my-consumer")
        known = {**environment, "MTS1B_CHECKOUTS": str(SPEC_READER)}
        paused = ("consumers", "pause", "OMS_ORDERS", "my-consumer", "--for", "1h")
        assert "declared by mts1b-treasury" in await run(*paused, *sure[1:], environment=known, code=1)
        assert "done: consumers pause" in await run(*paused, *sure, environment=known)
        refused = await run("streams", "apply", environment={**environment, "MTS1B_SERVICE": "mts1b-research"}, code=1)
        assert "mts1b-research may not publish" in refused
