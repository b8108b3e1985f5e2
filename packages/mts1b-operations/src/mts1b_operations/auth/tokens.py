"""Tokens of people: issued here, and verified whoever issued them.

Any OpenID Connect provider will do whose tokens name an audience and carry the roles in a claim; its public keys come
from its JWKS address or from a file. The local issuer is the default where there is none.

A token is believed when it is signed by a key of the issuer it names, with the algorithm of that key (EdDSA or
RS256, never what the token asks for), names our audience, and is in its time.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from mts1b_foundation.subjects import inbox_of_person

from mts1b_operations.auth.issuer_keys import IssuerKeys, TokenRefused
from mts1b_operations.auth.keys import jwks as public_keys

__all__ = ["AUDIENCE", "LOCAL", "LONGEST", "Issuer", "Person", "TokenRefused", "Verifier", "issue_token", "name_of"]

LOCAL: Final = "mts1b"
"""The local issuer's name."""
AUDIENCE: Final = "mts1b-bus"
"""For whom a token must be."""
LONGEST: Final = 24 * 3600.0
"""Seconds that a token may last, however long its issuer says."""
_LONGEST_NAME: Final = 200
_PLAIN: Final = "!$&'()*+,-./:;=?@_~"
"""What stands in a name as it is, beside letters and digits. The rest is escaped: spaces, control characters, ``|``."""


@dataclass(frozen=True, slots=True)
class Person:
    """The person that a verified token names."""

    name: str
    """As :func:`name_of` gives it: those of two issuers are never the same."""
    roles: tuple[str, ...]
    expires_at: float
    """Seconds since 1970."""
    issuer: str
    inbox: str
    """Where answers reach this person and nobody else."""


def name_of(name: str, issuer: str) -> str:
    """By what a person is known on the bus: ``alice``, or ``alice|login.example.org`` of an issuer that is not ours."""
    escaped = quote(name, safe=_PLAIN)
    return escaped if issuer == LOCAL else f"{escaped}|{issuer.removeprefix('https://')}"


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


@dataclass(frozen=True, slots=True)
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


class Verifier:
    """Verifies tokens of ``issuers``."""

    def __init__(self, *issuers: Issuer) -> None:
        self._issuers: Mapping[str, tuple[Issuer, IssuerKeys]] = {
            issuer.name: (issuer, IssuerKeys(issuer.name, issuer.keys)) for issuer in issuers
        }

    async def verify(self, token: str) -> Person:
        """The person that ``token`` names.

        Raises:
            TokenRefused: it is not believed.
        """
        try:
            header = jwt.get_unverified_header(token)
            named = jwt.decode(token, options={"verify_signature": False}).get("iss")
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            raise TokenRefused(f"it is no JWT: {error}") from None
        found = self._issuers.get(named) if isinstance(named, str) else None
        if found is None:
            raise TokenRefused(
                f"its issuer {named!r} is not trusted here (trusted: {', '.join(self._issuers) or 'none'})"
            )
        issuer, keys = found
        kid = header.get("kid")
        key = await keys.find(kid if isinstance(kid, str) else None)
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                audience=issuer.audience,
                issuer=issuer.name,
                options={"require": ["exp", "iat", "aud", "iss", "sub", issuer.name_claim]},
            )
        except (jwt.PyJWTError, ValueError) as error:
            raise TokenRefused(f"{error} (issuer {issuer.name})") from None
        name, subject = claims.get(issuer.name_claim), claims.get("sub")
        if not isinstance(name, str) or not name or not isinstance(subject, str) or not subject:
            raise TokenRefused(f"its claims sub and {issuer.name_claim} name nobody")
        known_as = name_of(name, issuer.name)
        if len(known_as) > _LONGEST_NAME:
            raise TokenRefused(f"its name is longer than {_LONGEST_NAME} letters")
        expires_at = min(float(claims["exp"]), time.time() + LONGEST)
        roles = _roles(claims, issuer.roles_claim)
        return Person(known_as, roles, expires_at, issuer.name, inbox_of_person(issuer.name, subject))


def _roles(claims: Mapping[str, Any], path: str) -> tuple[str, ...]:
    found: Any = claims
    for step in path.split("."):
        found = found.get(step) if isinstance(found, Mapping) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if isinstance(found, str):
        return tuple(found.split())
    return tuple(each for each in found if isinstance(each, str)) if isinstance(found, list) else ()  # pyright: ignore[reportUnknownVariableType]
