"""The bus's own connection on the locked-down server: certificates over TLS, tokens over a websocket with TLS."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import pytest
from locked_server import PATIENCE, Locked
from mts1b_platform.eventbus import AccessDenied, ServerUnavailable
from mts1b_platform.eventbus.connection import Callbacks, Connection, ConnectionOptions, Credentials
from mts1b_platform.eventbus.errors import IdentityRefused
from mts1b_platform.eventbus.protocol.frames import pub_frame
from mts1b_platform.eventbus.protocol.message import RawMsg
from people import Gate

QUOTE = b"mts.v1.marketdata.quotes.BTC/USDT"


class Client:
    """A connection, what its callbacks were told, and what it heard."""

    def __init__(self, url: str, credentials: Callable[[], Credentials], **options: object) -> None:
        self.errors: list[Exception] = []
        self.words: list[str] = []
        self.heard: list[RawMsg] = []
        self.connection = Connection(
            ConnectionOptions(servers=(url,), credentials=credentials, **options),  # pyright: ignore[reportArgumentType]
            callbacks=Callbacks(error=self.errors.append, server_said=self.words.append),
        )


@asynccontextmanager
async def client(url: str, credentials: Callable[[], Credentials], **options: object) -> AsyncGenerator[Client]:
    made = Client(url, credentials, **options)
    await made.connection.connect(PATIENCE)
    try:
        yield made
    finally:
        await made.connection.close()


def certificate(locked: Locked, service: str) -> Callable[[], Credentials]:
    return lambda: Credentials(tls=locked.context(locked.pki.pem(service)))


def token(gate: Gate, spelled: str) -> Callable[[], Credentials]:
    return lambda: Credentials(tls=gate.locked.context(None), token=spelled)


async def test_a_service_comes_with_its_certificate(locked: Locked):
    async with (
        client(locked.url, certificate(locked, "mts1b-marketdata")) as sender,
        client(locked.url, certificate(locked, "mts1b-oms"), inbox_prefix="_INBOX_mts1b-oms") as hearer,
    ):
        hearer.connection.subscribe("mts.v1.marketdata.quotes.*", hearer.heard.extend)
        await hearer.connection.flush()
        for n in range(5000):
            sender.connection.send(pub_frame(QUOTE, b"%d" % n * 50))
            if sender.connection.above_high_water:
                await sender.connection.writable()
        await sender.connection.flush()
        await hearer.connection.flush()
        assert [msg[3] for msg in hearer.heard] == [b"%d" % n * 50 for n in range(5000)]


async def test_a_refused_subject_keeps_the_connection(locked: Locked):
    async with client(locked.url, certificate(locked, "mts1b-marketdata")) as made:
        made.connection.send(pub_frame(b"mts.v1.oms.orders.created.fund.a", b"forged"))
        made.connection.subscribe("_INBOX_mts1b-oms.>", made.heard.extend)
        await made.connection.flush()
        assert len(made.words) == 2
        assert 'Permissions Violation for Publish to "mts.v1.oms.orders.created.fund.a"' in made.words[0]
        assert made.connection.stats.reconnects == 0


@pytest.mark.parametrize("presented", ["none", "foreign"])
async def test_nobody_without_a_certificate_of_the_installation(locked: Locked, presented: str):
    def nobody() -> Credentials:
        context = locked.context(None)
        if presented == "foreign":
            context = ssl.create_default_context()  # does not trust the server either
        return Credentials(tls=context)

    made = Client(locked.url, nobody)
    with pytest.raises((ServerUnavailable, AccessDenied)) as raised:
        await made.connection.connect(2)
    if presented == "foreign":
        assert isinstance(raised.value.__cause__, ssl.SSLCertVerificationError)
        assert not isinstance(raised.value, IdentityRefused), "it is we who refuse"


async def test_a_renewed_certificate_is_presented_at_the_next_dial(locked: Locked):
    services = ["mts1b-marketdata"]
    async with client(locked.url, lambda: certificate(locked, services[-1])()) as made:
        services.append("mts1b-oms")
        await locked.server.restart()
        await locked.until(lambda: made.connection.stats.reconnects == 1)
        made.connection.send(pub_frame(QUOTE, b"1"))
        await made.connection.flush()
        assert "Permissions Violation" in made.words[-1], "mts1b-oms is no producer of quotes"


async def test_a_restart_over_tls_loses_nothing_that_waits(locked: Locked):
    async with client(locked.url, certificate(locked, "mts1b-marketdata")) as made:
        for n in range(3):
            locked.server.kill()
            await locked.until(lambda: not made.connection.is_connected)
            made.connection.send(pub_frame(QUOTE, b"%d" % n))
            await locked.server.start()
            async with asyncio.timeout(PATIENCE):
                await made.connection.writable()
                await made.connection.flush()
        assert made.connection.stats.reconnects == 3
        assert made.connection.stats.out_msgs == 3


async def test_a_frozen_server_over_tls_does_not_hold_up_closing(locked: Locked):
    made = Client(locked.url, certificate(locked, "mts1b-marketdata"))
    await made.connection.connect(PATIENCE)
    locked.server.pause()
    async with asyncio.timeout(PATIENCE):
        await made.connection.close()
    locked.server.resume()
    assert made.connection.is_closed


async def test_a_person_comes_by_websocket_with_a_token(gate: Gate):
    alice = token(gate, gate.token("alice", "trader"))
    async with (
        client(gate.locked.url, certificate(gate.locked, "mts1b-marketdata")) as sender,
        client(gate.locked.websocket_url, alice, inbox_prefix="_INBOX_alice") as person,
    ):
        connection = person.connection
        connection.subscribe("mts.v1.marketdata.quotes.*", person.heard.extend)
        await connection.flush()
        payloads = [b"%d" % n * 300 for n in range(3000)]
        for payload in payloads:
            sender.connection.send(pub_frame(QUOTE, payload))
            if sender.connection.above_high_water:
                await sender.connection.writable()
        await sender.connection.flush()
        await connection.flush()
        assert [msg[3] for msg in person.heard] == payloads
        connection.send(pub_frame(QUOTE, b"forged"))
        await connection.flush()
        assert "Permissions Violation" in person.words[-1]


async def test_a_person_comes_back_after_a_restart(gate: Gate):
    alice = token(gate, gate.token("alice", "trader"))
    async with client(gate.locked.websocket_url, alice, inbox_prefix="_INBOX_alice") as person:
        before = asyncio.all_tasks()
        await gate.locked.server.restart()
        await gate.locked.until(lambda: person.connection.stats.reconnects >= 1 and person.connection.is_connected)
        await person.connection.flush()
        await gate.locked.until(lambda: len(asyncio.all_tasks()) <= len(before))


async def test_a_token_that_nobody_issued_is_refused(gate: Gate):
    made = Client(gate.locked.websocket_url, token(gate, "nonsense"))
    with pytest.raises(IdentityRefused):
        await made.connection.connect(PATIENCE)


async def test_a_token_goes_to_nobody_who_is_not_to_be_trusted(gate: Gate):
    made = Client(
        gate.locked.websocket_url, lambda: Credentials(tls=ssl.create_default_context(), token=gate.token("alice"))
    )
    with pytest.raises(ServerUnavailable) as raised:
        await made.connection.connect(1)
    assert isinstance(raised.value.__cause__, ssl.SSLCertVerificationError)


async def test_nothing_is_left_of_a_closed_websocket(gate: Gate):
    before = asyncio.all_tasks()
    alice = token(gate, gate.token("alice", "trader"))
    for _ in range(3):
        async with client(gate.locked.websocket_url, alice, inbox_prefix="_INBOX_alice"):
            pass
    assert asyncio.all_tasks() == before
