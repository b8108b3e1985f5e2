"""``audit verify`` reports a damaged line and goes on with the next."""

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from outcome_world import World

Damage = Callable[[dict[str, Any]], bytes]


def text(found: dict[str, Any]) -> bytes:
    return json.dumps({**found, "n": "two"}).encode()


def deep(_: dict[str, Any]) -> bytes:
    return b"[" * 100_000


@pytest.fixture
def audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the buses of this test keep their audit log."""
    monkeypatch.setenv("MTS1B_AUDIT_DIR", str(tmp_path / "audit"))
    return tmp_path / "audit"


def damage(audit: Path, how: Damage) -> None:
    """Damage the second line, and alter the fourth."""
    [path] = audit.glob("*/*.jsonl")
    lines = path.read_bytes().splitlines()
    lines[1] = how(json.loads(lines[1]))
    lines[3] = lines[3].replace(b"alpha", b"omega")
    path.write_bytes(b"\n".join(lines) + b"\n")


async def verify(audit: Path) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("mts1b"),
        "audit",
        "verify",
        str(audit),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


@pytest.mark.parametrize("how", [text, deep])
async def test_a_damaged_line_is_reported_and_the_rest_is_checked(audit: Path, how: Damage, world: World):
    await world.emit(*range(5))
    await world.bus.close()
    damage(audit, how)
    code, said = await verify(audit)
    assert "Traceback" not in said
    assert code == 1
    assert ":2:" in said
    assert ":4:" in said
