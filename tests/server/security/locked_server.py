"""A locked-down server as profile ``single`` renders it: real certificates, real permissions, real TLS."""

import asyncio
import os
import signal
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import nats
from cryptography import x509
from mts1b_deploy.permissions import ADMIN, Permissions
from mts1b_deploy.pki.store import Pki
from mts1b_deploy.secure import Callout, SecureSettings, issue_missing, render_single
from mts1b_platform.eventbus import EventBus, apply_streams, connect
from mts1b_platform.eventbus.declared import declared
from mts1b_platform.eventbus.dedupe import KvDedupe
from mts1b_platform.eventbus.jetstream.apply_consumers import apply_consumers
from mts1b_platform.server import NatsServer, ServerStartError
from mts1b_platform.testing.ports import free_ports
from nats.aio.client import Client

PATIENCE = 60
"""Seconds to wait for what comes at once unless the machine stands still."""

SPEC_READER = Path(__file__).parents[2] / "checkouts" / "spec-reader"
"""Declares what ``mts1b-treasury`` reads in these tests."""


class Locked:
    """One server of profile ``single`` and everybody's certificates."""

    def __init__(
        self,
        directory: Path,
        *,
        callout: Callout | None = None,
        websocket: bool = False,
        checkouts: tuple[Path, ...] = (SPEC_READER,),
    ) -> None:
        self.pki = Pki(directory / "pki")
        self.pki.init()
        self.checkouts = checkouts
        issue_missing(self.pki, ["127.0.0.1", "localhost"], checkouts)
        self.websocket_port = 0
        self.conf = directory / "nats.conf"
        # Without JetStream of its own: the configuration has it.
        self.server = NatsServer(directory / "server", config=self.conf, jetstream=False, timeout=60)
        self.settings = SecureSettings(
            server_name=self.server._name,
            listen="127.0.0.1:0",
            monitor="127.0.0.1:0",
            pid_file=directory / "nats.pid",
            log_file=directory / "nats.log",
            store_dir=directory / "store",
            tls_ca=self.pki.ca,
            tls_pem=self.pki.pem("server"),
            callout=callout,
            checkouts=checkouts,
        )
        self._websocket = websocket
        self.render()
        self.opened: list[EventBus | Client] = []

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def websocket_url(self) -> str:
        return f"wss://127.0.0.1:{self.websocket_port}"

    async def start(self) -> None:
        """Start the server; should another have taken a port meanwhile, choose again."""
        for attempts_left in reversed(range(5)):
            if self._websocket:
                (self.websocket_port,) = free_ports(1)
                self.settings = replace(self.settings, websocket=f"127.0.0.1:{self.websocket_port}")
                self.render()
            try:
                await self.server.start()
            except ServerStartError:
                said = self.server.log() + (self.log() if self.settings.log_file.exists() else "")
                if not attempts_left or "address already in use" not in said:
                    raise
                self.settings.log_file.unlink(missing_ok=True)
                self.server.log_file.unlink(missing_ok=True)
                self.server._ports = None
            else:
                return

    def render(self, permissions: Mapping[str, Permissions] | None = None) -> None:
        self.conf.write_text(render_single(self.settings, self.pki.identities(), permissions))

    def log(self) -> str:
        return self.settings.log_file.read_text()

    async def logged(self, text: str) -> None:
        """Wait until the server has logged ``text``."""
        async with asyncio.timeout(PATIENCE):
            while text.lower() not in self.log().lower():  # noqa: ASYNC110 - a log has no event
                await asyncio.sleep(0.01)

    async def reload(self) -> None:
        """Have the server read its configuration again, and wait until it has."""
        before = self.log().count("Reloaded server configuration")
        self.hang_up()
        async with asyncio.timeout(PATIENCE):
            while self.log().count("Reloaded server configuration") == before:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)

    def hang_up(self) -> None:
        """Tell the server to read its configuration again."""
        pid = self.server.pid
        assert pid is not None
        os.kill(pid, signal.SIGHUP)

    async def presented_serial(self) -> int:
        """The serial number of the certificate that the server shows somebody who connects now."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        await reader.readline()
        await writer.start_tls(self.context(self.pki.pem("mts1b-oms")), server_hostname="127.0.0.1")
        shown: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return x509.load_der_x509_certificate(shown).serial_number

    async def bus(self, service: str | None = None, **options: Any) -> EventBus:
        made = await connect(self.url, service=service, config=self.empty_config(), **options)
        self.opened.append(made)
        return made

    def empty_config(self) -> Path:
        path = self.conf.with_name("mts1b.toml")
        path.write_text(f'tls_dir = "{self.pki.directory}"\nprofile = "single"\n')
        return path

    async def close_buses_of(self, service: str) -> None:
        """Have every process of ``service`` end."""
        for client in self.opened:
            if isinstance(client, EventBus) and client.service == service:
                await client.close()

    def bare_config(self) -> Path:
        """A configuration without any identity, so that a test says what is presented."""
        path = self.conf.with_name("bare.toml")
        path.write_text('profile = "single"\n')
        return path

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until ``condition`` holds."""
        async with asyncio.timeout(PATIENCE):
            while not condition():  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)

    async def raw(self, repo: str, *, inbox: str | None = None, **options: Any) -> Client:
        """Plain nats-py with the certificate of ``repo``: an attacker who has stolen it, and uses no code of ours."""
        errors: list[Exception] = []

        async def on_error(error: Exception) -> None:
            errors.append(error)

        client: Client = await nats.connect(
            self.url,
            tls=self.context(self.pki.pem(repo)),
            inbox_prefix=inbox or f"_INBOX_{repo}",
            error_cb=on_error,
            allow_reconnect=False,
            connect_timeout=20,
            **options,
        )
        client.refused = errors  # pyright: ignore[reportAttributeAccessIssue]
        self.opened.append(client)
        return client

    def context(self, pem: Path | None, ca: Path | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(ca or self.pki.ca))
        if pem is not None:
            context.load_cert_chain(pem)
        return context


async def prepare(made: Locked) -> None:
    """Apply streams and declared consumers by the administration, as an install does."""
    admin = await made.bus(ADMIN)
    wanted = declared(made.checkouts)
    await apply_streams(admin, profile="single", streams=wanted.streams)
    await KvDedupe(admin).ensure_bucket()
    await apply_consumers(admin, wanted.consumers)


async def close_all(made: Locked) -> None:
    """Close every connection that was made to it."""
    for client in made.opened:
        await client.close()
    made.opened.clear()


@asynccontextmanager
async def started(made: Locked) -> AsyncGenerator[Locked, None]:
    """Start and prepare it; it is gone with everybody's connections at the end of the block."""
    await made.start()
    async with made.server:
        await prepare(made)
        try:
            yield made
        finally:
            await close_all(made)
