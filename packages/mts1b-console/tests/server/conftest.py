"""A console on a bus without people, and browsers at it."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from mts1b_console.settings import ConsoleSettings
from mts1b_console.web.app import serving
from mts1b_console.web.keys import Console
from mts1b_platform.config import Settings
from mts1b_platform.eventbus import EventBus
from mts1b_platform.server import NatsServer


class Browser:
    """A browser that has loaded the page."""

    def __init__(self, http: aiohttp.ClientSession, address: str) -> None:
        self.http = http
        self.address = address
        self.csrf = ""

    async def load(self) -> dict[str, Any]:
        me = await self.get("/api/me")
        self.csrf = me["csrf"] or ""
        return me

    async def get(self, path: str, status: int = 200) -> Any:
        async with self.http.get(f"{self.address}{path}") as answer:
            assert answer.status == status, await answer.text()
            return await answer.json()

    async def post(self, path: str, body: object, status: int = 200, **headers: str) -> Any:
        sent = {"Origin": self.address, "X-CSRF": self.csrf, **headers}
        async with self.http.post(f"{self.address}{path}", json=body, headers=sent) as answer:
            assert answer.status == status, await answer.text()
            return await answer.json()

    @asynccontextmanager
    async def live(self, **headers: str) -> AsyncGenerator[aiohttp.ClientWebSocketResponse]:
        async with self.http.ws_connect(f"{self.address}/live", headers={"Origin": self.address, **headers}) as socket:
            await socket.send_json({"op": "hello", "csrf": self.csrf})
            assert (await socket.receive_json())["type"] == "welcome"
            yield socket


@pytest.fixture
def audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MTS1B_AUDIT_DIR", str(tmp_path / "audit"))
    return tmp_path / "audit"


@pytest_asyncio.fixture
async def console(
    nats_server: NatsServer, bus: EventBus, audit: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Console, str]]:
    """A console on a server with every stream applied."""
    del bus, audit
    monkeypatch.setenv("MTS1B_NATS_URL", nats_server.url)
    monkeypatch.setenv("MTS1B_CONNECT_TIMEOUT", "20")
    async with serving(ConsoleSettings(listen="127.0.0.1:0"), Settings.load()) as found:
        yield found


@pytest_asyncio.fixture
async def browser(console: tuple[Console, str]) -> AsyncIterator[Browser]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        made = Browser(http, console[1])
        await made.load()
        yield made
