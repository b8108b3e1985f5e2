"""One person: the connection with the person's own token, and what is kept for the person while it stands."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from mts1b_foundation.subjects import registry
from mts1b_foundation.subjects.algebra import matches
from mts1b_operations.history.seen import Decoders
from mts1b_operations.people.rights import said_by_server
from mts1b_platform.command_line import user
from mts1b_platform.config import Settings
from mts1b_platform.eventbus import AccessDenied, BusError, EventBus, connect
from mts1b_platform.eventbus.dedupe import KvDedupe
from mts1b_platform.eventbus.history.recorded import stamp_of

from mts1b_console.person.backing import Backing, InProcess, Responders
from mts1b_console.person.rights import EVERYTHING, rights_of
from mts1b_console.problems import Refused
from mts1b_console.shapes.person import Rights

OPERATIONS: Final = "mts1b-operations"
"""Whom the console comes as where there are no people."""


@dataclass(slots=True)
class Person:
    """Somebody who is signed in.

    Attributes:
        bus: the connection; what it may not, this person may not.
        name: as the server knows the person.
        roles: as the token says, for display only.
        backing: who answers looks and acts.
        rights: as the server says; None when it does not.
        decoders: what strict consumers make of a message, and what this person may see of it.
        obeying: services that confirm a halt.
        busy: how many of the things that cost much are under way, by kind.
        kept: what the readings keep between two looks, by their name.
    """

    bus: EventBus
    name: str
    roles: tuple[str, ...]
    backing: Backing
    rights: Rights | None
    decoders: Decoders
    obeying: tuple[str, ...]
    busy: dict[str, int] = field(default_factory=dict[str, int])
    kept: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def secured(self) -> bool:
        """Whether this is a person by a token, not somebody on a bus without people."""
        return self.bus.identity.has_token

    @property
    def token_ends(self) -> str | None:
        """When the token ends."""
        end = self.bus.identity.expires_at
        return None if end is None else stamp_of(int(end * 1e9))

    def may_look(self, what: str) -> bool:
        """Whether this person may look up ``what`` (``survey``) for all funds; also when the server did not say."""
        return self.rights is None or any(matches(pattern, f"{what}.all") for pattern in self.rights.looks)

    def may_read(self, stream: str) -> bool:
        """Whether this person may read what ``stream`` holds; also when the server did not say."""
        return self.rights is None or not self.secured or stream in self.rights.streams

    def refuse_look(self, what: str) -> None:
        """Raise when the server would refuse a look anyway, so that it need not be asked every second.

        Raises:
            AccessDenied: it would.
        """
        if not self.may_look(what):
            raise AccessDenied(f"look.v1.{what}: the roles of {self.name} do not include it")

    def refuse_stream(self, stream: str) -> None:
        """As :meth:`refuse_look`, for what a stream holds.

        Raises:
            AccessDenied: the server would refuse it.
        """
        if not self.may_read(stream):
            raise AccessDenied(f"history.{stream}: the roles of {self.name} do not read all of this stream")

    @asynccontextmanager
    async def at_most(self, limit: int, kind: str) -> AsyncGenerator[None, None]:
        """Do something that costs much inside the block.

        Raises:
            Refused: this person has ``limit`` of that kind under way.
        """
        if self.busy.get(kind, 0) >= limit:
            raise Refused(429, "busy", f"{limit} {kind} are under way for you", "wait for one of them to end")
        self.busy[kind] = self.busy.get(kind, 0) + 1
        try:
            yield
        finally:
            self.busy[kind] -= 1

    async def close(self) -> None:
        """Sign out: the connection ends."""
        await self.backing.close()
        await self.bus.close()


class Door:
    """Lets people in: by their token, or where there are no people everybody on this machine as the operations.

    Args:
        settings: how the bus is reached.
        servers: a bus without people, in place of what the settings say.
        bus: where people connect, in place of what the settings say.
        obeying: services that confirm a halt.
    """

    def __init__(
        self, settings: Settings, *, servers: str | None = None, bus: str | None = None, obeying: tuple[str, ...] = ()
    ) -> None:
        self._settings = settings
        self._everybodys = servers
        self._servers = bus or ",".join(settings.people)
        self._obeying = obeying
        self._everybody: Person | None = None
        self._opening = asyncio.Lock()

    @property
    def secured(self) -> bool:
        """Whether people sign in."""
        return bool(self._servers)

    async def by_token(self, token: str) -> Person:
        """Whoever comes with ``token``; the server says whether it is good.

        Raises:
            AccessDenied: it is not.
            ServerUnavailable: nobody answers.
        """
        bus = await connect(self._servers, token=token, tls_ca=self._authority(), name="mts1b-console", watched=False)
        claims = bus.identity.claims() or {}
        roles: Any = claims.get("roles") or claims.get("mts1b_roles") or ()
        said = [roles] if isinstance(roles, str) else list(roles)
        return await self._person(bus, bus.identity.name, tuple(map(str, said)), Responders(bus))

    async def everybody(self) -> Person:
        """The one person of a bus without people.

        Raises:
            ServerUnavailable: nobody answers.
            Refused: the server asks who comes, so there should be people.
        """
        async with self._opening:
            if self._everybody is None or self._everybody.bus.is_closed:
                bus = await connect(self._everybodys, service=OPERATIONS, watched=False)
                if bus.server_info.get("auth_required") or bus.server_info.get("tls_verify"):
                    await bus.close()
                    raise Refused(
                        503,
                        "no-people",
                        "this server knows identities, and nobody said where people connect",
                        "set people in [nats] of mts1b.toml, or bus in [console]: wss://host:port",
                    )
                with suppress(BusError):  # then what needs it says so
                    await KvDedupe(bus).ensure_bucket()
                if self._everybody is not None:
                    await self._everybody.close()
                name = user() or "local"
                backing = InProcess(bus, name)
                await backing.open()
                self._everybody = await self._person(bus, name, (), backing)
            return self._everybody

    async def close(self) -> None:
        """End what is shared."""
        if self._everybody is not None:
            await self._everybody.close()

    async def _person(self, bus: EventBus, name: str, roles: tuple[str, ...], backing: Backing) -> Person:
        nobody_asked = not bus.identity.has_token
        said = None if nobody_asked else await said_by_server(bus)
        return Person(
            bus=bus,
            name=(said and said.user) or name,
            roles=roles,
            backing=backing,
            rights=EVERYTHING if nobody_asked else said and rights_of(said),
            decoders=Decoders(registry(), masks=not (nobody_asked or (said is not None and said.sees_sensitive))),
            obeying=self._obeying,
        )

    def _authority(self) -> Any:
        settings = self._settings
        return settings.tls_ca or (settings.tls_dir / "ca.crt" if settings.tls_dir else None)
