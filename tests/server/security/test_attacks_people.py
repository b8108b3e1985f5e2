"""Attack table, third part: getting in with a token that should not be believed, and staying longer than it lasts.

Each attempt is refused; the responder logs why, the server that somebody failed; neither logs the token.
"""

import asyncio
import base64
import json
import logging
import time
from collections.abc import Callable
from typing import Any

import jwt
import nats
import nats.errors
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from locked_server import PATIENCE
from mts1b_foundation.samples import ORDER
from mts1b_foundation.subjects import OMS_ORDERS_ACCEPTED, OMS_ORDERS_CREATED
from mts1b_operations.auth.keys import jwks, token_key
from mts1b_operations.auth.tokens import AUDIENCE, LOCAL, issue_token
from mts1b_platform.eventbus import AccessDenied
from people import Gate

# nats-py 2.16 calls aiohttp in a way that it deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:parameter 'timeout' of type 'float':DeprecationWarning")


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    usual: dict[str, Any] = {"iss": LOCAL, "aud": AUDIENCE, "sub": "mallory", "roles": ["auditor"], "iat": now}
    return {name: value for name, value in {**usual, "exp": now + 60, **changes}.items() if value is not None}


def signed(gate: Gate, **changes: Any) -> str:
    key = token_key(gate.keys)
    return jwt.encode(claims(**changes), key, algorithm="EdDSA", headers={"kid": jwks(key)["keys"][0]["kid"]})


def forged(gate: Gate) -> str:
    """A genuine token with another role written into it."""
    head, body, signature = gate.token("mallory", "market").split(".")
    document = json.loads(base64.urlsafe_b64decode(body + "=="))
    document["roles"] = ["auditor"]
    return ".".join([head, base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode(), signature])


def expired(gate: Gate) -> str:
    return gate.token("mallory", lifetime=-5)


def not_yet_valid(gate: Gate) -> str:
    return signed(gate, nbf=int(time.time()) + 60)


def alg_none(gate: Gate) -> str:
    kid = jwks(token_key(gate.keys))["keys"][0]["kid"]
    return jwt.encode(claims(), "", algorithm="none", headers={"kid": kid})


def public_key_as_secret(gate: Gate) -> str:
    """HS256 with the public key, which everybody knows, as the secret."""
    key = token_key(gate.keys)
    secret = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return jwt.encode(claims(), secret, algorithm="HS256", headers={"kid": jwks(key)["keys"][0]["kid"]})


def wrong_audience(gate: Gate) -> str:
    return gate.token("mallory", audience="another-app")


def wrong_key(gate: Gate) -> str:
    mine, kid = Ed25519PrivateKey.generate(), jwks(token_key(gate.keys))["keys"][0]["kid"]
    return jwt.encode(claims(), mine, algorithm="EdDSA", headers={"kid": kid})


def unknown_key(gate: Gate) -> str:
    del gate
    return issue_token(Ed25519PrivateKey.generate(), "mallory", ("auditor",), lifetime=60)


def unknown_issuer(gate: Gate) -> str:
    return gate.token("mallory", issuer="https://login.example.org")


def without_expiry(gate: Gate) -> str:
    return signed(gate, exp=None)


def without_name(gate: Gate) -> str:
    return signed(gate, sub=None)


def without_role(gate: Gate) -> str:
    return gate.token("mallory", "administrator")


def no_jwt(gate: Gate) -> str:
    del gate
    return "let-me-in"


TOKENS: dict[Callable[[Gate], str], str] = {
    forged: "Signature verification failed",
    expired: "Signature has expired",
    not_yet_valid: "not yet valid",
    alg_none: "alg value is not allowed",
    public_key_as_secret: "alg value is not allowed",
    wrong_audience: "Audience doesn't match",
    wrong_key: "Signature verification failed",
    unknown_key: "has no key",
    unknown_issuer: "is not trusted here",
    without_expiry: 'missing the "exp" claim',
    without_name: 'missing the "sub" claim',
    without_role: "has no role of this bus",
    no_jwt: "it is no JWT",
}


@pytest.mark.parametrize(("make", "reason"), TOKENS.items(), ids=[make.__name__ for make in TOKENS])
async def test_a_token_that_is_not_to_be_believed_lets_nobody_in(
    make: Callable[[Gate], str], reason: str, gate: Gate, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    token = make(gate)
    with pytest.raises(AccessDenied):
        await gate.person(token)
    await gate.locked.logged("authentication error")
    assert gate.responders[0].refused >= 1
    assert gate.responders[0].admitted == 0
    assert reason in caplog.text
    assert token not in caplog.text
    assert token not in gate.locked.log()


async def test_nobody_gets_in_without_a_token(gate: Gate):
    with pytest.raises(AccessDenied):
        await gate.person()
    await gate.locked.logged("authentication error")


async def test_nobody_gets_in_by_websocket_as_a_service(gate: Gate):
    """Not by the name of a service in place of its certificate, not with its certificate either."""
    for name in ("spiffe://mts1b/mts1b-oms", "spiffe://mts1b/mts1b-auth"):
        with pytest.raises(nats.errors.Error):
            await nats.connect(
                gate.locked.websocket_url,
                tls=gate.locked.context(None),
                user=name,
                password="",
                allow_reconnect=False,
                connect_timeout=20,
            )
    with pytest.raises(AccessDenied):
        await gate.person(tls_cert=gate.locked.pki.pem("mts1b-oms"))
    await gate.locked.logged("authentication error")


async def test_a_person_with_a_token_gets_nowhere_on_the_listener_of_services(gate: Gate):
    """Not without a certificate, and with a certificate that is nobody's the token is not even looked at."""
    with pytest.raises((nats.errors.Error, OSError)):
        await nats.connect(
            gate.locked.url,
            tls=gate.locked.context(None),
            token=gate.token(),
            allow_reconnect=False,
            connect_timeout=20,
        )
    gate.locked.pki.issue("mts1b-stranger")
    with pytest.raises(nats.errors.Error):
        await nats.connect(
            gate.locked.url,
            tls=gate.locked.context(gate.locked.pki.pem("mts1b-stranger")),
            token=gate.token(),
            allow_reconnect=False,
            connect_timeout=20,
        )
    assert gate.responders[0].admitted == 0


async def test_no_secret_is_in_any_log_or_error(gate: Gate, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    good, bad = gate.token("alice"), wrong_key(gate)
    alice = await gate.let_in(good)
    with pytest.raises(AccessDenied) as refused:
        await gate.person(bad)
    await alice.publish("mts.v1.oms.orders.created", b"{}")
    with pytest.raises(AccessDenied) as denied:
        await alice.flush()
    secrets = [good, bad, *(path.read_text().strip() for path in gate.keys.glob("*.nk"))]
    places = [caplog.text, gate.locked.log(), gate.locked.server.log(), str(refused.value), str(denied.value)]
    places += [repr(alice.settings), repr(alice.identity)]
    for secret in secrets:
        assert not any(secret in place for place in places)


async def test_history_that_somebody_has_sent_to_others_is_not_taken_for_an_event(gate: Gate):
    """Reply subjects are not checked, so one person's history can arrive where another listens."""
    oms = await gate.locked.bus("mts1b-oms")
    await oms.emit(OMS_ORDERS_CREATED, ORDER)
    mallory, bob = await gate.let_in(gate.token("mallory")), await gate.let_in(gate.token("bob"))
    async with bob.listen(OMS_ORDERS_ACCEPTED) as accepted:
        asked = json.dumps({"seq": 1}).encode()
        await mallory.publish("history.OMS_ORDERS", asked, reply="mts.v1.oms.orders.accepted")
        await mallory.flush()
        await gate.locked.until(
            lambda: bob.counters.schema_mismatch[OMS_ORDERS_ACCEPTED.pattern] == 1 or accepted.waiting > 0
        )
        genuine = ORDER.accept(ORDER.updated_at)
        await oms.emit(OMS_ORDERS_ACCEPTED, genuine)
        assert (await asyncio.wait_for(anext(accepted), PATIENCE)).payload == genuine
    assert bob.counters.schema_mismatch[OMS_ORDERS_ACCEPTED.pattern] == 1
