"""Tokens of people: issued here, and verified whoever issued them.

Any OpenID Connect provider will do whose tokens name an audience and carry the roles in a claim; its public keys come
from its JWKS address or from a file. The local issuer is the default where there is none.

A token is believed when it is signed by a key of the issuer it names, with the algorithm of that key (EdDSA or
RS256, never what the token asks for), names our audience, and is in its time.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.error import URLError
from urllib.request import Request, urlopen

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from mts1b_foundation.errors import Mts1bError

from mts1b_operations.auth.keys import jwks as public_keys

LOCAL: Final = "mts1b"
"""The local issuer's name."""
AUDIENCE: Final = "mts1b-bus"
"""For whom a token must be."""
LONGEST: Final = 24 * 3600.0
"""Seconds that a token may last, however long its issuer says."""

_ALGORITHMS: Final = {"OKP": "EdDSA", "RSA": "RS256"}
_REFETCH: Final = 10.0
_KEEP: Final = 600.0
_MOST_BYTES: Final = 1_000_000


class TokenRefused(Mts1bError):
    """A token was refused; the message says why, and never holds the token."""


@dataclass(frozen=True, slots=True)
class Person:
    """The person that a verified token names."""

    name: str
    roles: tuple[str, ...]
    expires_at: float
    """Seconds since 1970."""
    issuer: str


def issue_token(
    key: Ed25519PrivateKey,
    name: str,
    roles: tuple[str, ...],
    *,
    lifetime: float,
    audience: str = AUDIENCE,
    issuer: str = LOCAL,
) -> str:
    """A token of the local issuer for ``name``, good for ``lifetime`` seconds."""
    now = time.time()
    claims = {
        "iss": issuer,
        "aud": audience,
        "sub": name,
        "roles": list(roles),
        "iat": int(now),
        "nbf": int(now) - 5,
        "exp": int(now + lifetime),
    }
    return jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": public_keys(key)["keys"][0]["kid"]})


@dataclass(slots=True)
class Issuer:
    """An issuer whose tokens are accepted.

    Attributes:
        name: the claim ``iss`` of its tokens.
        keys: where its public keys are: an ``https://`` address, or a file that is read again when it changes.
        audience: the claim ``aud`` that a token must have.
        roles_claim: the claim that lists the roles; dots lead into objects (``realm_access.roles``).
        name_claim: the claim that names the person.
    """

    name: str
    keys: str
    audience: str = AUDIENCE
    roles_claim: str = "roles"
    name_claim: str = "sub"
    _held: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)
    _read_at: float = field(default=float("-inf"), repr=False)

    def key(self, kid: str | None) -> jwt.PyJWK:
        """The key that ``kid`` names; blocking when it has to be fetched.

        Raises:
            TokenRefused: the issuer has no such key, or cannot be asked.
        """
        for fresh in (False, True):
            self._refresh(at_most=_REFETCH if fresh else _KEEP)
            for each in self._held.get("keys", ()):
                if each.get("kid") == kid and each.get("kty") in _ALGORITHMS:
                    return jwt.PyJWK(each, algorithm=_ALGORITHMS[each["kty"]])
        raise TokenRefused(f"{self.name} has no key {kid!r}")

    def _refresh(self, *, at_most: float) -> None:
        now = time.monotonic()
        remote = self.keys.startswith(("https://", "http://127.0.0.1:", "http://localhost:"))
        if remote and now - self._read_at < at_most:
            return
        try:
            if remote:
                with urlopen(Request(self.keys), timeout=3) as answer:  # noqa: S310 - the scheme was looked at
                    document = json.loads(answer.read(_MOST_BYTES))
            else:
                document = json.loads(Path(self.keys).read_bytes())
        except (OSError, URLError, ValueError) as error:
            if self._held:
                return  # what was known goes on; the issuer may be down for a while
            raise TokenRefused(f"the keys of {self.name} cannot be read from {self.keys}: {error}") from None
        self._held, self._read_at = document, now


class Verifier:
    """Verifies tokens of ``issuers``. It blocks, so call it in a thread."""

    def __init__(self, *issuers: Issuer) -> None:
        self._issuers: Mapping[str, Issuer] = {issuer.name: issuer for issuer in issuers}

    def verify(self, token: str) -> Person:
        """The person that ``token`` names.

        Raises:
            TokenRefused: it is not believed.
        """
        try:
            header = jwt.get_unverified_header(token)
            named = jwt.decode(token, options={"verify_signature": False}).get("iss")
        except jwt.PyJWTError as error:
            raise TokenRefused(f"it is no JWT: {error}") from None
        issuer = self._issuers.get(named) if isinstance(named, str) else None
        if issuer is None:
            raise TokenRefused(
                f"its issuer {named!r} is not trusted here (trusted: {', '.join(self._issuers) or 'none'})"
            )
        key = issuer.key(header.get("kid"))
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                audience=issuer.audience,
                issuer=issuer.name,
                options={"require": ["exp", "iat", "aud", "iss", issuer.name_claim]},
            )
        except (jwt.PyJWTError, ValueError) as error:
            raise TokenRefused(f"{error} (issuer {issuer.name})") from None
        name = claims.get(issuer.name_claim)
        if not isinstance(name, str) or not name:
            raise TokenRefused(f"its claim {issuer.name_claim} names nobody")
        expires_at = min(float(claims["exp"]), time.time() + LONGEST)
        return Person(name, _roles(claims, issuer.roles_claim), expires_at, issuer.name)


def _roles(claims: Mapping[str, Any], path: str) -> tuple[str, ...]:
    found: Any = claims
    for step in path.split("."):
        found = found.get(step) if isinstance(found, Mapping) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if isinstance(found, str):
        return tuple(found.split())
    return tuple(each for each in found if isinstance(each, str)) if isinstance(found, list) else ()  # pyright: ignore[reportUnknownVariableType]
