"""People on the locked-down server: the responder at work, and connections by websocket with a token."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from locked_server import Locked, started
from mts1b_deploy.secure import Callout
from mts1b_operations.auth.keys import CalloutKeys, make_keys, token_key
from mts1b_operations.auth.responder import REPO, Responder
from mts1b_operations.auth.revoked import Revoked
from mts1b_operations.auth.roles import ROLES, Role
from mts1b_operations.auth.tokens import LOCAL, Issuer, Verifier, issue_token
from mts1b_platform.eventbus import AccessDenied, EventBus, connect


class Gate:
    """A locked-down server that people can come to."""

    def __init__(self, locked: Locked, keys: Path) -> None:
        self.locked = locked
        self.keys = keys
        self.roles: dict[str, Role] = dict(ROLES)
        """What the responders know; a test may add to it."""
        self.responders: list[Responder] = []
        self.late = 0
        """Attempts that the server refused because it had no responder's answer after a second."""

    def token(self, name: str = "alice", *roles: str, lifetime: float = 600, **options: Any) -> str:
        return issue_token(token_key(self.keys), name, roles or ("trader",), lifetime=lifetime, **options)

    async def respond(self, *more: Issuer) -> Responder:
        """One more responder."""
        bus = await self.locked.bus(REPO)
        verifier = Verifier(Issuer(LOCAL, str(self.keys / "jwks.json")), *more)
        made = Responder(bus, CalloutKeys.load(self.keys), verifier, self.roles, Revoked(self.keys))
        await made.start()
        self.responders.append(made)
        return made

    async def person(self, token: str | None = None, **options: Any) -> EventBus:
        """Somebody who comes with ``token``."""
        if token is not None:
            options["token"] = token
        made = await connect(
            self.locked.websocket_url, tls_ca=self.locked.pki.ca, config=self.locked.bare_config(), **options
        )
        self.locked.opened.append(made)
        return made

    async def let_in(self, token: str | None = None, **options: Any) -> EventBus:
        """As :meth:`person`, somebody whom the responder lets in: an answer that came too late is asked for again."""
        for _ in range(5):
            before = self._refused()
            try:
                return await self.person(token, **options)
            except AccessDenied:
                if self._refused() > before:
                    raise
                self.late += 1
        raise TimeoutError("the responder's answer came too late five times")

    def _refused(self) -> int:
        return sum(responder.refused for responder in self.responders)


@asynccontextmanager
async def opened(directory: Path) -> AsyncGenerator[Gate, None]:
    """A server with one responder."""
    keys = directory / "auth"
    make_keys(keys)
    async with started(Locked(directory, callout=Callout.read(keys / "callout.json"), websocket=True)) as locked:
        gate = Gate(locked, keys)
        await gate.respond()
        yield gate
