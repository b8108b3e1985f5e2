"""The commands that let people in, as processes: keys made, responder serving, a token issued, logged in, used."""

import asyncio
import os
import stat
import sys
from pathlib import Path
from typing import Any

from locked_server import PATIENCE, Locked, started
from mts1b_deploy.secure import Callout

MTS1B = Path(sys.executable).with_name("mts1b")


async def run(*arguments: Any, environment: dict[str, str], stdin: str = "", code: int = 0) -> str:
    process = await asyncio.create_subprocess_exec(
        MTS1B,
        *map(str, arguments),
        env={**os.environ, **environment},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(stdin.encode()), PATIENCE)
    assert process.returncode == code, (out.decode(), err.decode())
    return out.decode() if code == 0 else err.decode()


async def test_a_person_logs_in_by_the_commands(tmp_path: Path):
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
        finally:
            responder.terminate()
            await asyncio.wait_for(responder.wait(), PATIENCE)
        assert responder.returncode == 0


async def test_administration_and_operations_commands_find_their_certificates(tmp_path: Path):
    async with started(Locked(tmp_path)) as locked:
        environment = {"MTS1B_CONFIG": str(locked.empty_config()), "MTS1B_NATS_URL": locked.url}
        applied = await run("streams", "apply", environment=environment)
        assert "unchanged  OMS_ORDERS, durable my-consumer of mts1b-treasury" in applied
        assert "my-consumer" in await run("lag", environment=environment)
        refused = await run("streams", "apply", environment={**environment, "MTS1B_SERVICE": "mts1b-research"}, code=1)
        assert "mts1b-research may not publish" in refused
