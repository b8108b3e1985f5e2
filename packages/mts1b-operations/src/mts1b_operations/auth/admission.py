"""The answer to an authorization request: a signed, read-only user JWT that expires with the person's token. No I/O."""

import base64
import hashlib
import json
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from mts1b_foundation.errors import Mts1bError

from mts1b_operations.auth.keys import AccountKey
from mts1b_operations.auth.roles import Role, streams_of
from mts1b_operations.auth.tokens import Person

ACCOUNT: Final = "HUMANS"
OWN_RIGHTS: Final = "$SYS.REQ.USER.INFO"
"""Where the server tells whoever asks of the own connection: name, account, permissions."""


class BadRequest(Mts1bError):
    """The message is not a server's authorization request."""


@dataclass(frozen=True, slots=True)
class Question:
    """A server's request to authorize a connection."""

    server_id: str
    user_nkey: str
    token: str
    client: str
    """Address, for the log."""
    websocket: bool


def read_question(data: bytes) -> Question:
    """The request in a JWT. The server is identified by its account and its encryption, not by this signature.

    Raises:
        BadRequest: it is none.
    """
    try:
        body = data.decode().split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        asked = claims["nats"]
        client = asked["client_info"]
        options = asked.get("connect_opts", {})
        return Question(
            server_id=asked["server_id"]["id"],
            user_nkey=asked["user_nkey"],
            token=options.get("auth_token") or options.get("jwt") or "",
            client=str(client.get("host", "")),
            websocket=client.get("type") == "websocket" or client.get("client_type") == "websocket",
        )
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise BadRequest(f"not an authorization request: {type(error).__name__}") from None


def admit(question: Question, person: Person, roles: Collection[Role], key: AccountKey) -> str:
    """The answer that authorizes ``person`` to read, look up and have done what any of ``roles`` may."""
    subjects = sorted({subject for role in roles for subject in role.subjects})
    looks = sorted({f"look.v1.{look}" for role in roles for look in role.looks})
    acts = sorted({f"act.v1.{act}" for role in roles for act in role.acts})
    asks = [OWN_RIGHTS, *(f"history.{stream}" for stream in streams_of(subjects)), *looks, *acts]
    permissions: dict[str, Any] = {
        "sub": {"allow": [*subjects, f"{person.inbox}.>"]},
        "pub": {"allow": asks},
    }
    user = {
        "name": person.name,
        "sub": question.user_nkey,
        "aud": ACCOUNT,
        "exp": int(person.expires_at),
        "nats": {
            **permissions,
            # The server does not enforce these of a callout's user: the account's limits in its configuration hold.
            "subs": -1,
            "data": -1,
            "payload": -1,
            "allowed_connection_types": ["WEBSOCKET"],
            "type": "user",
            "version": 2,
        },
    }
    return _answer(question, key, {"jwt": _sign(user, key)})


def refuse(question: Question, reason: str, key: AccountKey) -> str:
    """The answer that refuses the connection; the server logs ``reason`` and does not pass it to the client."""
    return _answer(question, key, {"error": reason})


def _answer(question: Question, key: AccountKey, content: dict[str, str]) -> str:
    nats = {**content, "type": "authorization_response", "version": 2}
    return _sign({"sub": question.user_nkey, "aud": question.server_id, "nats": nats}, key)


def _sign(claims: dict[str, Any], key: AccountKey) -> str:
    claims = {"iat": int(time.time()), "iss": key.public, **claims}
    digest = hashlib.new("sha512_256", json.dumps(claims, sort_keys=True).encode()).digest()
    claims["jti"] = base64.b32encode(digest).rstrip(b"=").decode()
    parts = [_part({"typ": "JWT", "alg": "ed25519-nkey"}), _part(claims)]
    signature = key.sign(".".join(parts).encode())
    return ".".join([*parts, _base64(signature)])


def _part(document: dict[str, Any]) -> str:
    return _base64(json.dumps(document, separators=(",", ":")).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
