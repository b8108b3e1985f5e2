"""A locked-down server as an install leaves it, its responders, and a console at it."""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[4] / "tests/server/security"))

from mts1b_console.settings import ConsoleSettings
from mts1b_console.web.app import serving
from mts1b_foundation.deadletters import DeadLetter, DeadLetterReason
from mts1b_foundation.subjects import TREASURY_DEADLETTERS_CREATED
from mts1b_operations.people.serve import looking
from mts1b_platform.config import Settings
from mts1b_platform.eventbus import EventBus
from mts1b_platform.eventbus.jetstream.stored import read_stored
from people import Gate, opened
from playwright.async_api import Page, expect
from playwright.async_api import TimeoutError as NothingCame

LONG = 40_000
"""Milliseconds that something may take on a machine that does much else."""


@dataclass
class Secured:
    """What is there."""

    gate: Gate
    folder: Path
    address: str = ""
    acting: list[asyncio.subprocess.Process] = field(default_factory=list[asyncio.subprocess.Process])
    treasury: EventBus | None = None

    @property
    def environ(self) -> dict[str, str]:
        """How commands find the bus, with every service's certificate."""
        return {
            **os.environ,
            "MTS1B_NATS_URL": self.gate.locked.url,
            "MTS1B_CONFIG": str(self.gate.locked.empty_config()),
            "MTS1B_AUDIT_DIR": str(self.folder / "audit"),
        }

    async def start_acting(self) -> None:
        """One more `mts1b act serve`, when it answers."""
        with (self.folder / "act.log").open("a") as log:
            made = await asyncio.create_subprocess_exec(
                "mts1b", "act", "serve", env=self.environ, stdout=asyncio.subprocess.PIPE, stderr=log
            )
        self.acting.append(made)
        assert made.stdout is not None
        async with asyncio.timeout(LONG / 1000):
            while b"answering" not in (said := await made.stdout.readline()):
                assert said, (self.folder / "act.log").read_text()

    async def dead_letter(self, seq: int, *, consumer: str, schema: str | None = None) -> None:
        """Have the treasury give up an order that is stored, as one of its readers would."""
        if self.treasury is None:
            self.treasury = await self.gate.locked.bus("mts1b-treasury")
        treasury = self.treasury
        held = await read_stored(treasury, "OMS_ORDERS", seq=seq)
        assert held is not None
        headers = held.wire.headers.readable()
        letter = DeadLetter.of_stored(
            subject=held.wire.subject.decode(), headers=headers | ({} if schema is None else {"mts-schema": schema}),
            payload=held.wire.payload, stream="OMS_ORDERS", sequence=seq, stored_at=held.time,
            consumer=consumer, deliveries=1, reason=DeadLetterReason.REJECTED, error="a bug",
        )  # fmt: skip
        await treasury.emit(TREASURY_DEADLETTERS_CREATED, letter)


@asynccontextmanager
async def secured(folder: Path) -> AsyncGenerator[Secured]:
    """It runs inside the block."""
    with pytest.MonkeyPatch.context() as patch:
        async with AsyncExitStack() as stack:
            gate = await stack.enter_async_context(opened(folder))
            made = Secured(gate, folder)
            options: dict[str, Any] = {"servers": gate.locked.url, "config": gate.locked.empty_config()}
            await stack.enter_async_context(looking(**options))
            await made.start_acting()
            config = folder / "console.toml"
            config.write_text(f'profile = "single"\ntls_ca = "{gate.locked.pki.ca}"\n')
            patch.setenv("MTS1B_CONFIG", str(config))
            settings = ConsoleSettings(listen="127.0.0.1:0", bus=gate.locked.websocket_url, obeying=("mts1b-oms",))
            _, made.address = await stack.enter_async_context(serving(settings, Settings.load()))
            try:
                yield made
            finally:
                for process in made.acting:
                    if process.returncode is None:
                        process.kill()
                    await process.wait()


async def sign_in(page: Page, token: str) -> None:
    """Sign in on the page that asks for a token."""
    shell = page.locator(".shell")
    for _ in range(5):  # an answer of the auth responder that came too late is asked for again
        await page.get_by_label("or paste a token").fill(token)
        await page.get_by_role("button", name="Sign in").click()
        try:
            await shell.wait_for(timeout=5_000)
        except NothingCame:
            continue
        return
    await expect(shell).to_be_visible()
