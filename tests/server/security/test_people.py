"""People: they come by websocket with a token, read what their role reads, and write nothing."""

import asyncio
import json
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from locked_server import PATIENCE
from mts1b_foundation.samples import FILL, NAV, ORDER, QUOTE
from mts1b_foundation.subjects import (
    MARKETDATA_QUOTES,
    OMS_FILLS_CREATED,
    OMS_ORDERS_CREATED,
    TREASURY_NAV,
)
from mts1b_operations.auth.history import read_history
from mts1b_operations.auth.tokens import Issuer
from mts1b_platform.eventbus import AccessDenied
from people import Gate

# nats-py 2.16 calls aiohttp in a way that it deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:parameter 'timeout' of type 'float':DeprecationWarning")


async def test_a_person_hears_what_the_role_reads(gate: Gate):
    alice = await gate.let_in(gate.token("alice", "trader"))
    marketdata = await gate.locked.bus("mts1b-marketdata")
    async with alice.listen(MARKETDATA_QUOTES, symbol="BTC/USDT") as quotes:
        await marketdata.emit(MARKETDATA_QUOTES, QUOTE)
        assert (await asyncio.wait_for(anext(quotes), PATIENCE)).payload == QUOTE
    assert 1 <= gate.responders[0].admitted <= 1 + gate.late


async def test_a_person_reads_history_of_streams_that_the_role_reads_in_full(gate: Gate):
    oms = await gate.locked.bus("mts1b-oms")
    ack = await oms.emit(OMS_ORDERS_CREATED, ORDER)
    await oms.emit(OMS_FILLS_CREATED, FILL)
    alice = await gate.let_in(gate.token("alice", "trader"))
    stored = [each async for each in read_history(alice, "OMS_ORDERS")]
    assert [(each.subject, each.sequence) for each in stored] == [(ack.subject, ack.seq)]
    assert type(ORDER).model_validate_json(stored[0].payload) == ORDER
    assert stored[0].headers["mts-source-repo"] == "mts1b-oms"
    none = [each async for each in read_history(alice, "OMS_ORDERS", "mts.v1.oms.orders.filled")]
    assert none == []


async def test_a_person_does_not_read_outside_the_role(gate: Gate):
    alice = await gate.let_in(gate.token("alice", "market"))
    treasury = await gate.locked.bus("mts1b-treasury")
    await treasury.emit(TREASURY_NAV, NAV)
    for pattern in (TREASURY_NAV.patterns[0], "mts.>", ">", "mts.*.*.*", "_INBOX_bob.>"):
        with pytest.raises(AccessDenied, match="alice may not subscribe"):
            await alice.subscribe(pattern)
    with pytest.raises(AccessDenied, match=r"history\.TREASURY_NAV: alice"):
        _ = [each async for each in read_history(alice, "TREASURY_NAV")]
    await gate.locked.logged("HUMANS/user:alice")


@pytest.mark.parametrize(
    "subject",
    ["mts.v1.oms.orders.created", "mts.v1.alice.orders.created", "$JS.API.STREAM.PURGE.OMS_ORDERS", "$JS.API.INFO"],
)
async def test_a_person_publishes_nothing(subject: str, gate: Gate):
    alice = await gate.let_in(gate.token("alice", "auditor"))
    await alice.publish(subject, b"{}")
    with pytest.raises(AccessDenied, match="alice may not publish"):
        await alice.flush()
    await gate.locked.logged(f'Publish Violation - Subject "{subject}"')


async def test_a_session_ends_with_its_token_and_the_reader_is_told(gate: Gate):
    alice = await gate.let_in(gate.token("alice", "trader", lifetime=4))
    async with alice.listen(MARKETDATA_QUOTES) as quotes:
        with pytest.raises(AccessDenied, match=r"the token of alice ended at .*mts1b login"):
            await asyncio.wait_for(anext(quotes), PATIENCE)
    assert alice.is_closed


async def test_a_session_goes_on_when_the_token_was_renewed_in_its_file(gate: Gate, tmp_path: Path):
    path = tmp_path / "token"
    path.write_text(gate.token("alice", "trader", lifetime=4))
    alice = await gate.let_in(token_file=path, ping_interval=60)
    async with alice.listen(MARKETDATA_QUOTES) as quotes:
        path.write_text(gate.token("alice", "trader", lifetime=600))
        await gate.locked.until(lambda: alice.counters.reconnects == 1)
        await alice.flush()
        marketdata = await gate.locked.bus("mts1b-marketdata")
        await marketdata.emit(MARKETDATA_QUOTES, QUOTE)
        assert (await asyncio.wait_for(anext(quotes), PATIENCE)).payload == QUOTE


async def test_people_come_back_by_themselves_after_the_server_has_read_its_configuration_anew(gate: Gate):
    alice = await gate.let_in(gate.token("alice", "trader"), ping_interval=60)
    marketdata = await gate.locked.bus("mts1b-marketdata", ping_interval=60)
    async with alice.listen(MARKETDATA_QUOTES) as quotes:
        gate.locked.pki.revoke("mts1b-research")
        gate.locked.render()
        await gate.locked.reload()
        await gate.locked.until(lambda: alice.counters.reconnects == 1)
        await alice.flush()
        await marketdata.emit(MARKETDATA_QUOTES, QUOTE)
        assert (await asyncio.wait_for(anext(quotes), PATIENCE)).payload == QUOTE
    assert marketdata.counters.disconnects == 0


async def test_without_a_responder_nobody_new_gets_in_and_everybody_else_stays(gate: Gate):
    alice = await gate.let_in(gate.token("alice", "trader"))
    marketdata = await gate.locked.bus("mts1b-marketdata")
    await gate.locked.close_buses_of("mts1b-auth")
    with pytest.raises(AccessDenied):
        await gate.person(gate.token("bob", "trader"))
    async with alice.listen(MARKETDATA_QUOTES) as quotes:
        await marketdata.emit(MARKETDATA_QUOTES, QUOTE)
        assert (await asyncio.wait_for(anext(quotes), PATIENCE)).payload == QUOTE


async def test_two_responders_share_the_work_and_one_is_enough(gate: Gate):
    await gate.locked.close_buses_of("mts1b-auth")
    first, second = await gate.respond(), await gate.respond()
    for number in range(8):
        await gate.let_in(gate.token(f"person-{number}"))
    assert 8 <= first.admitted + second.admitted <= 8 + gate.late
    await first.bus.close()
    before = second.admitted
    await gate.let_in(gate.token("late"))
    assert second.admitted > before


async def test_tokens_of_an_openid_provider_are_believed_by_its_published_keys(gate: Gate, tmp_path: Path):
    """RS256 with keys at an address, roles in a nested claim, as Keycloak and its like write them."""
    key = rsa.generate_private_key(65537, 2048)
    public = json.loads(RSAAlgorithm.to_jwk(key.public_key()))
    (tmp_path / "certs").write_text(json.dumps({"keys": [{**public, "kid": "k1", "use": "sig"}]}))
    with served(tmp_path) as address:
        await gate.locked.close_buses_of("mts1b-auth")
        await gate.respond(
            Issuer(
                "https://login.example.org", f"{address}/certs", roles_claim="realm_access.roles", name_claim="email"
            )
        )
        now = int(time.time())
        token = jwt.encode(
            {
                "iss": "https://login.example.org",
                "aud": ["mts1b-bus", "account"],
                "email": "carol@example.org",
                "realm_access": {"roles": ["offline_access", "market"]},
                "iat": now,
                "exp": now + 600,
            },
            key,
            algorithm="RS256",
            headers={"kid": "k1"},
        )
        carol = await gate.let_in(token)
    with pytest.raises(AccessDenied):
        await carol.subscribe("mts.v1.oms.>")
    await carol.subscribe("mts.v1.marketdata.>")


@contextmanager
def served(directory: Path) -> Generator[str, None, None]:
    """A directory at an http address on loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(directory)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
