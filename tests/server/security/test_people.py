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
from locked_server import PATIENCE, Locked
from mts1b_deploy.secure import secure_values
from mts1b_foundation.operations import HaltObedience
from mts1b_foundation.samples import DEAD_LETTER, FILL, NAV, ORDER, QUOTE
from mts1b_foundation.subjects import (
    MARKETDATA_QUOTES,
    OMS_DEADLETTERS_CREATED,
    OMS_FILLS_CREATED,
    OMS_HALT_OBEYED,
    OMS_ORDERS_CREATED,
    TREASURY_NAV,
)
from mts1b_operations.auth.roles import ROLES
from mts1b_operations.auth.tokens import Issuer
from mts1b_operations.deadletters import letters
from mts1b_operations.halt import halts_in_force, request_halt
from mts1b_platform.eventbus import AccessDenied, EventBus
from mts1b_platform.eventbus.codec.decoder import Decoder
from mts1b_platform.eventbus.history.history import open_history
from mts1b_platform.eventbus.history.recorded import Recorded
from people import Gate

# nats-py 2.16 calls aiohttp in a way that it deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:parameter 'timeout' of type 'float':DeprecationWarning")


async def read_history(bus: EventBus, stream: str, pattern: str = ">", after: int = 0) -> list[Recorded]:
    history = await open_history(bus, stream)
    return [each async for each in history.messages(pattern, after=after)]


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
    stored = await read_history(alice, "OMS_ORDERS")
    assert [(each.wire.subject.decode(), each.seq) for each in stored] == [(ack.subject, ack.seq)]
    assert type(ORDER).model_validate_json(stored[0].wire.payload) == ORDER
    assert stored[0].wire.headers["mts-source-repo"] == "mts1b-oms"
    none = await read_history(alice, "OMS_ORDERS", "mts.v1.oms.orders.filled")
    assert none == []


async def test_history_comes_in_batches_and_as_it_was_published(gate: Gate):
    oms = await gate.locked.bus("mts1b-oms")
    orders = [ORDER.model_copy(update={"idempotency_key": f"key-{number}"}) for number in range(25)]
    await oms.emit_many(OMS_ORDERS_CREATED, orders)
    alice = await gate.let_in(gate.token("alice", "trader"))
    sent = alice.connection.stats.out_msgs
    stored = await read_history(alice, "OMS_ORDERS")
    assert alice.connection.stats.out_msgs - sent == 3  # where it ends, that it may be read, and all in one batch
    assert [each.seq for each in stored] == list(range(1, 26))
    kept = await read_history(alice, "OMS_ORDERS", after=20)
    assert [each.seq for each in kept] == [21, 22, 23, 24, 25]
    decoder = Decoder((OMS_ORDERS_CREATED,))
    assert [decoder.decode(each.wire)[2] for each in stored] == orders


async def test_headers_that_a_publisher_made_up_hide_nothing_of_its_history(gate: Gate):
    """A taken-over service writes what the server says of a stored message into its own headers."""
    oms = await gate.locked.raw("mts1b-oms")
    forged = {"Nats-Num-Pending": "0", "Nats-Sequence": "9", "Nats-Subject": "mts.v1.oms.orders.filled"}
    for number in range(3):
        await oms.request("mts.v1.oms.orders.created", b"%d" % number, headers=forged)
    alice = await gate.let_in(gate.token("alice", "trader"))
    stored = [(each.seq, each.wire.subject, each.wire.payload) for each in await read_history(alice, "OMS_ORDERS")]
    assert stored == [(number + 1, b"mts.v1.oms.orders.created", b"%d" % number) for number in range(3)]


async def test_an_operator_reads_dead_letters_halts_and_who_obeyed_them_and_follows_orders(gate: Gate):
    oms, operations = await gate.locked.bus("mts1b-oms"), await gate.locked.bus("mts1b-operations")
    await oms.emit(OMS_DEADLETTERS_CREATED, DEAD_LETTER)
    halt, _ = await request_halt(operations, fund_id="alpha", reason="prices", actor="olga")
    olga = await gate.let_in(gate.token("olga", "operator"))
    async with olga.listen(OMS_HALT_OBEYED) as obeyed:
        said = HaltObedience(halt_id=halt.halt_id, service="mts1b-oms", obeyed_at=halt.requested_at)
        await oms.emit(OMS_HALT_OBEYED, said)
        assert (await asyncio.wait_for(anext(obeyed), PATIENCE)).payload == said
    (found,) = await halts_in_force(olga)
    assert (found.request, list(found.obeyed)) == (halt, ["mts1b-oms"])
    assert [each.letter for each in await letters(olga)] == [DEAD_LETTER]
    await oms.emit(OMS_ORDERS_CREATED, ORDER)
    assert len(await read_history(olga, "OMS_ORDERS")) == 1
    for stream in ("RISK", "BROKERS_FILLS", "RESEARCH_SIGNALS", "OMS_FILLS", "OPERATIONS_ALERTS"):
        assert await read_history(olga, stream) == []


async def test_a_person_does_not_read_outside_the_role(gate: Gate):
    alice = await gate.let_in(gate.token("alice", "market"))
    treasury = await gate.locked.bus("mts1b-treasury")
    await treasury.emit(TREASURY_NAV, NAV)
    for pattern in (TREASURY_NAV.patterns[0], "mts.>", ">", "mts.*.*.*", "_INBOX_bob.>"):
        with pytest.raises(AccessDenied, match="alice may not subscribe"):
            await alice.subscribe(pattern)
    with pytest.raises(AccessDenied, match=r"history\.TREASURY_NAV: alice"):
        await read_history(alice, "TREASURY_NAV")
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
                "sub": "f81d4fae",
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


def test_every_stream_that_a_role_may_read_is_open_to_people(tmp_path: Path):
    settings = Locked(tmp_path).settings
    open_to_people = secure_values(settings, {})["history"]
    assert {name for role in ROLES.values() for name in role.streams} == set(open_to_people)
