"""The door for people holds: slow and malformed providers, floods, large tokens, and people who are thrown out."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from locked_server import PATIENCE, Locked
from mts1b_foundation.samples import ORDER
from mts1b_foundation.subjects import OMS_ORDERS_CREATED, inbox_of_person
from mts1b_operations.auth import issuer_keys
from mts1b_operations.auth.revoked import Revoked
from mts1b_operations.auth.sessions import SYSTEM, sessions, throw_out
from mts1b_operations.auth.tokens import Issuer, TokenRefused, Verifier, name_of
from mts1b_platform.eventbus import AccessDenied, BusError
from mts1b_platform.eventbus.history.history import open_history
from people import Gate

# nats-py 2.16 calls aiohttp in a way that it deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:parameter 'timeout' of type 'float':DeprecationWarning")

PROVIDER = "https://login.example.org/realms/desk"
KEY = rsa.generate_private_key(65537, 2048)
JWK = {**json.loads(RSAAlgorithm.to_jwk(KEY.public_key())), "kid": "k1", "use": "sig"}


def token(sub: str = "carol", kid: str = "k1", **more: Any) -> str:
    now = int(time.time())
    claims = {"iss": PROVIDER, "aud": "mts1b-bus", "sub": sub, "roles": ["trader"], "iat": now, "exp": now + 600}
    return jwt.encode({**claims, **more}, KEY, algorithm="RS256", headers={"kid": kid})


Writes = Callable[[asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def provider(answer: Writes) -> AsyncGenerator[tuple[str, list[float]], None]:
    """An address that answers with whatever bytes ``answer`` writes, and when it was asked."""
    asked: list[float] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.append(time.monotonic())
        try:
            await answer(writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/certs", asked


def says(body: bytes) -> Writes:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(body), body))
        await writer.drain()

    return answer


async def drip(writer: asyncio.StreamWriter) -> None:
    """A header for ever: each byte comes in time, the whole never does."""
    writer.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        writer.write(b".")
        await writer.drain()
        await asyncio.sleep(0.01)


async def test_a_provider_that_drips_locks_nobody_else_out_and_is_given_up(gate: Gate, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(issuer_keys, "_WHOLE", 1.0)
    async with provider(drip) as (address, asked):
        await gate.locked.close_buses_of("mts1b-auth")
        await gate.respond(Issuer(PROVIDER, address))
        theirs = [asyncio.create_task(gate.person(token(f"person-{number}"))) for number in range(12)]
        for number in range(4):
            await gate.let_in(gate.token(f"alice-{number}"))
        refused = await asyncio.gather(*theirs, return_exceptions=True)
        assert all(isinstance(each, AccessDenied) for each in refused)
        assert len(asked) == 1, "one attempt for all of them, and a failure is remembered"


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"keys": 1}', b'{"keys": [1, null, {"kty": 1}, {"kid": 7}]}', b"\xff", b"[" * 100_000,
     json.dumps({"keys": [{**JWK, "n": "x"}, {"kty": "EC", "kid": "k1"}]}).encode(), b"x" * 2_000_000],
    ids=["empty", "list", "no keys", "number", "nonsense", "bytes", "deep", "unusable", "large"],
)  # fmt: skip
async def test_malformed_keys_are_refused_in_words(body: bytes):
    async with provider(says(body)) as (address, asked):
        verifier = Verifier(Issuer(PROVIDER, address))
        for _ in range(2):
            with pytest.raises(TokenRefused, match="cannot be read from"):
                await verifier.verify(token())
        assert len(asked) == 1


async def test_keys_that_are_known_go_on_when_the_provider_fails(monkeypatch: pytest.MonkeyPatch):
    good = True
    body = json.dumps({"keys": [{"kty": "EC", "kid": "other"}, JWK]}).encode()

    async def answer(writer: asyncio.StreamWriter) -> None:
        await says(body if good else b"<html>maintenance</html>")(writer)

    async with provider(answer) as (address, asked):
        verifier = Verifier(Issuer(PROVIDER, address))
        assert (await verifier.verify(token())).name == "carol|login.example.org/realms/desk"
        good = False
        monkeypatch.setattr(issuer_keys, "_KEEP", 0.0)
        for _ in range(3):
            await verifier.verify(token())
        async with asyncio.timeout(PATIENCE):
            while len(asked) < 2:  # noqa: ASYNC110 - the provider has no event
                await asyncio.sleep(0.01)
        await verifier.verify(token())
        monkeypatch.setattr(issuer_keys, "_REFETCH", 0.0)
        with pytest.raises(TokenRefused, match="has no key 'k2'"):
            await verifier.verify(token(kid="k2"))
        assert (await verifier.verify(token())).name.startswith("carol|")


async def test_a_flood_of_junk_tokens_keeps_nobody_out(gate: Gate):
    async def knock() -> None:
        while True:
            with_junk = asyncio.create_task(gate.person("x" * 2000))
            await asyncio.wait([with_junk])
            with_junk.exception()

    flood = [asyncio.create_task(knock()) for _ in range(8)]
    try:
        await gate.locked.until(lambda: gate.responders[0].refused > 10)
        for number in range(5):
            await gate.let_in(gate.token(f"alice-{number}"))
    finally:
        for each in flood:
            each.cancel()
        await asyncio.gather(*flood, return_exceptions=True)


async def test_people_of_one_name_and_two_issuers_are_apart(gate: Gate, tmp_path: Path):
    (tmp_path / "certs").write_text(json.dumps({"keys": [JWK]}))
    await gate.locked.close_buses_of("mts1b-auth")
    await gate.respond(Issuer(PROVIDER, str(tmp_path / "certs")))
    ours, theirs = await gate.let_in(gate.token("alice")), await gate.let_in(token("alice"))
    for bus, other in ((ours, theirs), (theirs, ours)):
        with pytest.raises(AccessDenied):
            await bus.subscribe(f"{other.identity.inbox_prefix}.>")
        assert (await (await open_history(bus, "OMS_ORDERS")).extent()).size == 0
    system = await gate.locked.bus(SYSTEM)
    assert {each.person for each in await sessions(system)} == {"alice", "alice|login.example.org/realms/desk"}
    assert inbox_of_person("a", "b") != inbox_of_person("a\0b", "")


@pytest.mark.parametrize(
    ("name", "known_as"),
    [("alice", "alice"), ("carol@example.org", "carol@example.org"), ("a|login.example.org", "a%7Clogin.example.org"),
     ("José Luis", "Jos%C3%A9%20Luis"), ("x\ny", "x%0Ay")],
)  # fmt: skip
def test_a_name_cannot_pass_for_another_s(name: str, known_as: str):
    assert name_of(name, "mts1b") == known_as
    assert name_of(name, "https://login.example.org") == f"{known_as}|login.example.org"


async def test_a_token_of_any_common_size_lets_in_and_one_that_is_too_large_is_named(gate: Gate):
    groups = ["department-" + "x" * 60 + str(number) for number in range(150)]
    large = gate.token("alice", "trader", *groups)
    assert 10_000 < len(large) < 30_000
    await gate.let_in(large)
    huge = gate.token("alice", "trader", *(groups * 4))
    with pytest.raises(BusError, match=r"the token has \d+ bytes, more than the server takes"):
        await gate.person(huge)


async def test_subscriptions_payload_and_connections_of_people_are_limited(tmp_path: Path, gate: Gate):
    text = gate.locked.conf.read_text()
    gate.locked.conf.write_text(
        text.replace("max_connections: 500, max_subscriptions: 500", "max_connections: 3, max_subscriptions: 20")
    )
    await gate.locked.reload()
    alice = await gate.let_in(gate.token("alice"))
    with pytest.raises(BusError):
        await alice.request("history.OMS_ORDERS", b"x" * 70_000, timeout=PATIENCE)
    for number in range(18):
        await alice.subscribe(f"mts.v1.oms.orders.created.fund.f{number}")
    with pytest.raises(BusError, match="did not take the subscription"):
        await alice.subscribe("mts.v1.oms.orders.filled")
    others = [await gate.let_in(gate.token(f"person-{number}")) for number in range(2)]
    with pytest.raises(BusError, match="takes no further connection"):
        await gate.person(gate.token("one-too-many"), connect_timeout=2)
    oms = await gate.locked.bus("mts1b-oms")
    await oms.emit(OMS_ORDERS_CREATED, ORDER)
    del others, tmp_path


async def test_a_person_is_thrown_out_now_and_comes_back_when_restored(gate: Gate):
    mallory = await gate.let_in(gate.token("mallory"), ping_interval=60)
    alice = await gate.let_in(gate.token("alice"), ping_interval=60)
    Revoked(gate.keys).add("mallory", "laptop stolen")
    ended = await throw_out(await gate.locked.bus(SYSTEM), "mallory")
    assert [each.person for each in ended] == ["mallory"]
    await gate.locked.until(lambda: mallory.counters.disconnects == 1)
    with pytest.raises(AccessDenied):
        await gate.person(gate.token("mallory"))
    assert not mallory.is_connected
    assert (alice.counters.disconnects, alice.is_connected) == (0, True)
    assert await sessions(await gate.locked.bus(SYSTEM), "mallory") == []
    Revoked(gate.keys).remove("mallory")
    await gate.let_in(gate.token("mallory"))


async def test_a_list_that_cannot_be_read_lets_nobody_in(gate: Gate):
    (gate.keys / "revoked.json").write_text("[")
    with pytest.raises(AccessDenied):
        await gate.person(gate.token("alice"))
    (gate.keys / "revoked.json").unlink()
    await gate.let_in(gate.token("alice"))


async def test_no_service_ends_sessions_or_sees_them(locked: Locked):
    for service in ("mts1b-operations", "mts1b-reader", "mts1b-deploy"):
        with pytest.raises(AccessDenied):
            await sessions(await locked.bus(service))
