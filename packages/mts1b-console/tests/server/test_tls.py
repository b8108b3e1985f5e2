"""Over TLS: what browsers are told besides, and a certificate that is renewed while it is served."""

import asyncio
import ssl
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from mts1b_console.settings import ConsoleSettings
from mts1b_console.web.app import Certificate, ListenError, serving
from mts1b_deploy.pki.store import Pki
from mts1b_platform.config import Settings


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    made = Pki(tmp_path / "pki")
    made.init()
    made.issue("mts1b-console", hosts=["127.0.0.1"])
    return made


async def test_a_browser_is_told_to_come_by_tls_only(pki: Pki):
    settings = ConsoleSettings(listen="127.0.0.1:0", bus="wss://nowhere.invalid:1", tls_pem=pki.pem("mts1b-console"))
    trusting = ssl.create_default_context(cafile=str(pki.ca))
    async with serving(settings, Settings.load()) as (_, address), aiohttp.ClientSession() as http:
        assert address.startswith("https://")
        async with http.get(f"{address}/api/me", ssl=trusting) as answer:
            assert answer.headers["Strict-Transport-Security"]
            assert (await answer.json())["secured"] is True
        headers = {"Origin": address.replace("https", "http")}
        async with http.post(f"{address}/login", json={"token": "x"}, headers=headers, ssl=trusting) as answer:
            assert answer.status == 403


async def test_a_renewed_certificate_is_shown_without_a_restart(pki: Pki):
    held = Certificate(pki.pem("mts1b-console"))
    assert held.refresh() is False
    port_of: list[int] = []

    async def shown() -> int:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port_of[0], ssl=ssl.create_default_context(cafile=str(pki.ca)), server_hostname="127.0.0.1"
        )
        del reader
        der: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return x509.load_der_x509_certificate(der).serial_number

    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=held.context)
    async with server:
        port_of.append(server.sockets[0].getsockname()[1])
        before = await shown()
        pki.rotate(["mts1b-console"])
        assert held.refresh() is True
        assert await shown() != before
        pki.pem("mts1b-console").write_text("broken")
        with pytest.raises(ListenError, match="cannot be used"):
            held.refresh()
