"""The public keys of one issuer: kept, fetched aside, with an overall time limit; what failed is remembered.

A provider that is slow, gone or talks nonsense holds up its own people alone: nobody else's token waits for it, and its
own are verified by the keys that are known, as long as it takes.
"""

import asyncio
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import jwt
from mts1b_foundation.errors import Mts1bError
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.auth")

ALGORITHMS: Final = {"OKP": "EdDSA", "RSA": "RS256"}
_KEEP: Final = 600.0
"""Seconds after which keys are fetched anew; meanwhile, and as long as that fails, those that are known go on."""
_REFETCH: Final = 10.0
"""Seconds until keys are fetched again: for a key that is not among them, or because it failed."""
_WHOLE: Final = 5.0
"""Seconds that fetching takes at most, from the name to the last byte."""
_WAIT: Final = 0.6
"""Seconds that one who comes waits for it: the server gives the responder one second in all."""
_MOST_BYTES: Final = 1_000_000


class TokenRefused(Mts1bError):
    """A token was refused; the message says why, and never holds the token."""


class IssuerKeys:
    """The keys of the issuer ``name`` at ``place``: an ``https://`` address, or a file, read again when it changes."""

    def __init__(self, name: str, place: str) -> None:
        self.name = name
        self._place = place
        self._remote = place.startswith(("https://", "http://127.0.0.1:", "http://[::1]:", "http://localhost:"))
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._tried_at = float("-inf")
        self._failure = ""
        self._stamp: tuple[int, int] | None = None
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, kid: str | None) -> jwt.PyJWK:
        """The key that ``kid`` names.

        Raises:
            TokenRefused: the issuer has no such key, or cannot be asked in time.
        """
        if not self._remote:
            self._read_file()
            return self._known(kid)
        age = time.monotonic() - self._tried_at
        if kid in self._keys:
            if age > _KEEP:
                self._fetch()
            return self._keys[kid]
        if age > _REFETCH or self._fetching is not None:
            task = self._fetch()
            done, _ = await asyncio.wait([task], timeout=_WAIT)
            if not done:
                raise TokenRefused(f"the keys of {self.name} are still being fetched from {self._place}: come again")
        return self._known(kid)

    def _known(self, kid: str | None) -> jwt.PyJWK:
        if (found := self._keys.get(kid)) is not None:
            return found
        why = f": they cannot be read from {self._place}: {self._failure}" if self._failure else ""
        raise TokenRefused(f"{self.name} has no key {kid!r}{why}")

    def _fetch(self) -> asyncio.Task[None]:
        """The one attempt that is under way, or a new one."""
        if self._fetching is None:
            self._tried_at = time.monotonic()
            self._fetching = asyncio.create_task(self._fetch_once(), name=f"keys of {self.name}")
        return self._fetching

    async def _fetch_once(self) -> None:
        import aiohttp  # those who have no provider need not load it

        try:
            limit = aiohttp.ClientTimeout(total=_WHOLE)
            async with (
                aiohttp.ClientSession(timeout=limit, trust_env=True) as session,
                session.get(self._place) as said,
            ):
                said.raise_for_status()
                data = await said.content.read(_MOST_BYTES + 1)
                while len(data) <= _MOST_BYTES and (more := await said.content.read(_MOST_BYTES)):
                    data += more
            if len(data) > _MOST_BYTES:
                raise ValueError(f"more than {_MOST_BYTES} bytes")
            self._take(data)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            self._failed(str(error) or f"nothing whole within {_WHOLE:g} s")
        finally:
            self._fetching = None
            self._tried_at = time.monotonic()

    def _read_file(self) -> None:
        path = Path(self._place)
        try:
            stat = path.stat()
            if (stamp := (stat.st_mtime_ns, stat.st_size)) == self._stamp:
                return
            self._take(path.read_bytes())
            self._stamp = stamp
        except (OSError, ValueError) as error:
            self._failed(str(error))

    def _take(self, data: bytes) -> None:
        """Take the keys that can be used.

        Raises:
            ValueError: there is none.
        """
        try:
            document: object = json.loads(data)
        except RecursionError:
            document = None
        listed = cast("Mapping[str, Any]", document).get("keys") if isinstance(document, dict) else None
        found: dict[str | None, jwt.PyJWK] = {}
        for each in cast("list[object]", listed) if isinstance(listed, list) else ():
            facts = cast("dict[str, Any]", each) if isinstance(each, dict) else {}
            kid, kind = facts.get("kid"), facts.get("kty")
            if not isinstance(kid, str | None) or not isinstance(kind, str) or facts.get("use", "sig") != "sig":
                continue
            try:
                found.setdefault(kid, jwt.PyJWK(facts, algorithm=ALGORITHMS[kind]))
            except (KeyError, jwt.PyJWTError, ValueError, TypeError):
                continue  # of another kind, or none
        if not found:
            raise ValueError("it holds no RSA or Ed25519 key for signatures")
        self._keys, self._failure = found, ""

    def _failed(self, why: str) -> None:
        self._failure = why
        log.warning("keys cannot be read", issuer=self.name, place=self._place, error=why, known=len(self._keys))
