"""The connection on a real nats-server: killed, frozen, reloaded, leaving, behind a wire that is cut."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Self

import pytest
from mts1b_platform.eventbus.connection import Callbacks, Connection, ConnectionOptions, Credentials
from mts1b_platform.eventbus.connection.asyncio_network import AsyncioNetwork
from mts1b_platform.eventbus.errors import (
    BusError,
    IdentityRefused,
    NoResponders,
    PayloadTooLarge,
    ServerError,
    ServerUnavailable,
    StaleConnection,
)
from mts1b_platform.eventbus.protocol.frames import pub_frame
from mts1b_platform.server import NatsServer
from mts1b_platform.server.probe import read_monitor
from mts1b_platform.testing import StartNatsServer
from mts1b_platform.testing.ports import free_ports

from ...received import Received  # noqa: TID252 - tests are in no package that could be named

WAIT = 60
"""Seconds to wait for what comes at once unless the machine stands still."""


class Client:
    """A connection, and what its callbacks were told."""

    def __init__(self, *servers: str, network: AsyncioNetwork | None = None, **options: Any) -> None:
        self.errors: list[Exception] = []
        self.broken, self.back = asyncio.Event(), asyncio.Event()
        self.breaks = 0
        self.connection = Connection(
            ConnectionOptions(servers=servers, **options),
            callbacks=Callbacks(error=self.errors.append, disconnected=self._broke, reconnected=self._came_back),
            network=network,
        )

    def _broke(self) -> None:
        self.breaks += 1
        self.back.clear()
        self.broken.set()

    def _came_back(self) -> None:
        self.broken.clear()
        self.back.set()


@asynccontextmanager
async def client(*servers: str, **options: Any) -> AsyncGenerator[Client]:
    made = Client(*servers, **options)
    async with asyncio.timeout(WAIT):
        await made.connection.connect()
    try:
        yield made
    finally:
        async with asyncio.timeout(WAIT):
            await made.connection.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT):
        while not condition():  # noqa: ASYNC110 - what a callback changes has no event
            await asyncio.sleep(0.01)


async def flushed(connection: Connection) -> None:
    """Wait for a connection on which the server has taken everything."""
    async with asyncio.timeout(WAIT):
        while True:
            try:
                await connection.writable()
                await connection.flush()
            except ServerUnavailable:
                continue
            return


async def hears(connection: Connection) -> bool:
    """Whether a message goes round."""
    heard = Received()
    subscription = connection.subscribe("goes.round", heard)
    connection.send(pub_frame(b"goes.round", b"1"))
    await flushed(connection)
    subscription.unsubscribe()
    return heard.payloads == [b"1"]


async def test_messages_questions_and_answers(nats_server: NatsServer):
    async with client(nats_server.url) as one, client(nats_server.url) as two:
        heard = Received()
        one.connection.subscribe("a.*", heard)
        one.connection.subscribe(
            "svc.double", lambda batch: [one.connection.send(pub_frame(msg[1], msg[3] * 2)) for msg in batch]
        )
        await one.connection.flush()
        for n in range(5000):
            two.connection.send(pub_frame(b"a.%d" % n, b"%d" % n))
            if two.connection.above_high_water:
                await two.connection.writable()
        await two.connection.flush()
        await one.connection.flush()
        assert heard.payloads == [b"%d" % n for n in range(5000)]
        assert len(heard.batches) < 2500
        answer = await two.connection.request("svc.double", b"ab", timeout=WAIT)
        assert answer.payload == b"abab"
        with pytest.raises(NoResponders):
            await two.connection.request("svc.nobody", timeout=WAIT)
        info = await two.connection.request("$JS.API.INFO", timeout=WAIT)
        assert b"account_info" in info.payload
        assert one.errors == two.errors == []


async def test_payloads_up_to_the_limit(nats_server: NatsServer):
    async with client(nats_server.url) as made:
        heard = Received()
        made.connection.subscribe("a", heard)
        payload = os.urandom(made.connection.max_payload)
        made.connection.send(pub_frame(b"a", payload))
        await made.connection.flush()
        assert heard.payloads == [payload]
        with pytest.raises(PayloadTooLarge):
            made.connection.send(pub_frame(b"a", payload + b"x"))


async def test_a_killed_server_comes_back_and_what_waited_goes_out(nats_server: NatsServer):
    async with client(nats_server.url) as made, client(nats_server.url) as other:
        heard = Received()
        other.connection.subscribe("a", heard)
        await other.connection.flush()
        nats_server.kill()
        await until(lambda: made.broken.is_set() and other.broken.is_set())
        for n in range(50):
            made.connection.send(pub_frame(b"a", b"%d" % n))
        assert made.connection.send_volatile(pub_frame(b"a", b"stale")) is False
        await nats_server.start()
        await flushed(other.connection)
        # Whoever came back first: those that went out before `other` was there are lost, as the subject is not stored.
        await flushed(made.connection)
        made.connection.send(pub_frame(b"a", b"last"))
        await until(lambda: heard.payloads and heard.payloads[-1] == b"last")
        sent = [b"%d" % n for n in range(50)]
        assert heard.payloads in ([*sent, b"last"], [b"last"])
        assert made.connection.dropped == 1
        assert made.connection.stats.reconnects == 1


async def test_fifty_kills_lose_nothing_that_waited_and_double_nothing(nats_server: NatsServer):
    async with client(nats_server.url) as made:
        heard = Received()
        made.connection.subscribe("a", heard)
        await made.connection.flush()
        for n in range(12):
            nats_server.kill()
            await until(made.broken.is_set)
            made.connection.send(pub_frame(b"a", b"%d" % n))
            await nats_server.start()
            await flushed(made.connection)
        assert heard.payloads == [b"%d" % n for n in range(12)]


async def test_a_frozen_server_is_given_up_and_found_again(nats_server: NatsServer):
    async with client(nats_server.url) as made:
        nats_server.pause()
        began = asyncio.get_running_loop().time()
        await until(made.broken.is_set)
        assert asyncio.get_running_loop().time() - began < 30
        assert isinstance(made.connection.last_error, StaleConnection)
        nats_server.resume()
        await until(made.back.is_set)
        assert await hears(made.connection)


async def test_closing_on_a_frozen_server_ends(nats_server: NatsServer):
    made = Client(nats_server.url)
    await made.connection.connect(WAIT)
    nats_server.pause()
    sock_buffers = 32 * 1024 * 1024
    for _ in range(sock_buffers // 1_000_000):
        with suppress(BusError):
            made.connection.send(pub_frame(b"a", b"x" * 1_000_000))
        made.connection.flush_out()
    async with asyncio.timeout(WAIT):
        await made.connection.close()
    assert any("closed before everything was written" in str(error) for error in made.errors)
    nats_server.resume()


async def reloaded(server: NatsServer, config: Path, text: str) -> None:
    before = server.log().count("Reloaded server configuration")
    assert server.pid is not None
    config.write_text(f'server_name: "{server._name}"\n{text}')  # noqa: ASYNC240 - that may not change
    os.kill(server.pid, signal.SIGHUP)
    await until(lambda: server.log().count("Reloaded server configuration") > before)


async def test_a_lowered_max_payload_costs_the_event_and_not_the_connection(
    start_nats_server: StartNatsServer, tmp_path: Path
):
    config = tmp_path / "n.conf"
    config.write_text("max_payload: 100000\n")
    server = start_nats_server(config=config)
    async with client(server.url) as made:
        await reloaded(server, config, "max_payload: 2000\n")
        made.connection.send(pub_frame(b"a", b"x" * 5000))  # the server tells of the new limit at login only
        await until(lambda: made.connection.stats.reconnects == 1)
        assert any(isinstance(e, ServerError) and "Payload" in e.words for e in made.errors)
        assert made.connection.max_payload == 2000
        with pytest.raises(PayloadTooLarge, match="takes 2000"):
            made.connection.send(pub_frame(b"a", b"x" * 5000))
        assert await hears(made.connection)


async def test_what_waits_and_is_too_large_for_the_server_that_comes_back_is_dropped_with_an_error(
    start_nats_server: StartNatsServer, tmp_path: Path
):
    config = tmp_path / "n.conf"
    config.write_text("max_payload: 100000\n")
    server = start_nats_server(config=config)
    async with client(server.url) as made:
        heard = Received()
        made.connection.subscribe("a", heard)
        server.kill()
        await until(made.broken.is_set)
        for size in (10, 50_000, 20):
            made.connection.send(pub_frame(b"a", b"x" * size))
        config.write_text("max_payload: 2000\n")
        await server.start()
        await flushed(made.connection)
        assert [len(payload) for payload in heard.payloads] == [10, 20]
        assert [type(e) for e in made.errors if isinstance(e, BusError) and "50000 bytes" in str(e)] == [
            PayloadTooLarge
        ]
        assert made.connection.stats.reconnects == 1


async def test_subscriptions_at_the_limit_keep_the_connection(start_nats_server: StartNatsServer, tmp_path: Path):
    config = tmp_path / "n.conf"
    config.write_text("max_subscriptions: 2\n")
    server = start_nats_server(config=config)
    async with client(server.url) as made:
        heard = [Received() for _ in range(4)]
        for n, callback in enumerate(heard):
            made.connection.subscribe(f"s.{n}", callback)
        await made.connection.flush()
        for n in range(4):
            made.connection.send(pub_frame(b"s.%d" % n, b"1"))
        await made.connection.flush()
        assert [len(one.payloads) for one in heard] == [1, 1, 0, 0]
        assert made.breaks == 0
        assert all(isinstance(error, ServerError) and "subscriptions" in error.words for error in made.errors)


async def test_a_server_in_lame_duck_is_left_for_another(start_nats_server: StartNatsServer, tmp_path: Path):
    route_a, route_b = free_ports(2)
    slow = "lame_duck_duration: 30s\nlame_duck_grace_period: 5s\n"
    one, two = tmp_path / "one.conf", tmp_path / "two.conf"
    one.write_text(f"cluster {{ name: x, listen: 127.0.0.1:{route_a} }}\n{slow}")
    two.write_text(f'cluster {{ name: x, listen: 127.0.0.1:{route_b}, routes: ["nats://127.0.0.1:{route_a}"] }}\n')
    first, second = start_nats_server(config=one, jetstream=False), start_nats_server(config=two, jetstream=False)
    async with client(first.url) as made:
        await until(lambda: second.url.removeprefix("nats://") in made.connection.server_info.get("connect_urls", []))
        heard = Received()
        made.connection.subscribe("a", heard)
        assert first.pid is not None
        os.kill(first.pid, signal.SIGUSR2)
        await until(made.back.is_set)
        assert str(made.connection.connected_url) == second.url
        assert await hears(made.connection)


async def test_a_name_with_a_frozen_first_address_is_left(start_nats_server: StartNatsServer):
    server = start_nats_server()
    listening = socket.socket()
    try:
        listening.bind(("127.0.0.2", server.port))  # takes connections, and says nothing
        listening.listen()

        class TwoAddresses(AsyncioNetwork):
            async def resolve(self, host: str, port: int) -> list[str]:
                del host, port
                return ["127.0.0.2", "127.0.0.1"]

        async with client(f"nats://bus.test:{server.port}", network=TwoAddresses(), connect_timeout=1.0) as made:
            assert await hears(made.connection)
            assert "sent no greeting" in str(made.errors[0])
    finally:
        listening.close()


class Proxy:
    """A wire between client and server that can be cut."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._pairs: list[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.budget: int | None = None
        """Bytes to the client until the wire is cut; None: any number."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"nats://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Reset every connection."""
        for pair in self._pairs:
            for writer in pair:
                sock = writer.get_extra_info("socket")
                with suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                writer.transport.abort()
        self._pairs.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.transport.abort()
            return
        self._pairs.append((writer, server_writer))
        for source, target, down in ((reader, server_writer, False), (server_reader, writer, True)):
            task = asyncio.create_task(self._copy(source, target, down))
            self._tasks.add(task)

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, down: bool) -> None:
        with suppress(OSError):
            while data := await source.read(1000):
                if down and self.budget is not None:
                    data = data[: self.budget]
                    self.budget -= len(data)
                target.write(data)
                await target.drain()
                if self.budget == 0:
                    self.budget = None
                    self.cut()
        target.transport.abort()


async def test_a_wire_that_is_cut_in_the_middle_of_messages(nats_server: NatsServer):
    async with Proxy(nats_server.port) as proxy, client(proxy.url) as made, client(nats_server.url) as sender:
        heard = Received()
        made.connection.subscribe("a", heard)
        await made.connection.flush()
        for n in range(40):
            proxy.budget = 37 * n + 5
            for _ in range(20):
                sender.connection.send(pub_frame(b"a", b"<%d>" % n * 20))
            await sender.connection.flush()
            await until(lambda: proxy.budget is None)
            await until(made.broken.is_set) if not made.back.is_set() else None
            await flushed(made.connection)
        assert all(payload == payload[: len(payload) // 20] * 20 for payload in heard.payloads), "all of them whole"
        assert await hears(made.connection)
        assert made.connection.stats.reconnects >= 40


async def test_a_token_that_is_refused_for_a_while(start_nats_server: StartNatsServer, tmp_path: Path):
    config = tmp_path / "n.conf"
    config.write_text('authorization { token: "one" }\n')
    server = start_nats_server(config=config, jetstream=False)
    tokens = ["one"]
    refused = Client(server.url, credentials=lambda: Credentials(token="wrong"))
    with pytest.raises(IdentityRefused, match="Authorization Violation"):
        await refused.connection.connect(WAIT)
    async with client(server.url, credentials=lambda: Credentials(token=tokens[-1]), refused_wait=0.2) as made:
        await reloaded(server, config, 'authorization { token: "two" }\n')
        await until(lambda: any(isinstance(error, ServerError) for error in made.errors))
        tokens.append("two")
        await until(made.back.is_set)
        assert await hears(made.connection)


async def test_a_client_that_reads_too_slowly_comes_back(start_nats_server: StartNatsServer, tmp_path: Path):
    """The server cuts it off without a word."""
    config = tmp_path / "n.conf"
    config.write_text("max_payload: 500000\nmax_pending: 1000000\nwrite_deadline: 1s\n")
    server = start_nats_server(config=config, jetstream=False)
    async with client(server.url) as made:
        made.connection.subscribe("a", Received())
        await made.connection.flush()
        async with client(server.url) as sender:

            def flood() -> None:
                with socket.create_connection(("127.0.0.1", server.port)) as raw:
                    raw.sendall(b'CONNECT {"verbose":false}\r\n' + pub_frame(b"a", b"x" * 100_000) * 400 + b"PING\r\n")
                    while b"PONG" not in raw.recv(65536):
                        pass

            flood()  # in this thread: the loop does not read meanwhile
            await sender.connection.flush()
        await until(lambda: made.connection.stats.reconnects == 1)
        assert await hears(made.connection)


async def test_no_server(free_url: str):
    made = Client(free_url)
    with pytest.raises(ServerUnavailable, match=f"{free_url} within 0.3 s"):
        await made.connection.connect(0.3)
    assert made.connection.is_closed


async def test_a_limited_subscription_that_was_told_of_no_responders_is_gone_from_the_server(nats_server: NatsServer):
    """The server does not count that word towards the limit."""
    async with client(nats_server.url) as made:
        for n in range(5):
            told = Received()
            made.connection.subscribe(f"answers.{n}", told, max_msgs=1)
            made.connection.send(pub_frame(b"svc.nobody", b"?", b"answers.%d" % n))
            await until(lambda told=told: told.batches)
        await made.connection.flush()
        page = await asyncio.to_thread(read_monitor, "127.0.0.1", nats_server.monitor_port, "/connz")
        assert page is not None
        assert [each["subscriptions"] for each in page["connections"]] == [0]
