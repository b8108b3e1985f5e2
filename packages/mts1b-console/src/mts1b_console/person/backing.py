"""Who answers looks and acts: the responders of a secured bus, or on a bus without people this process itself."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any, Final, Protocol

from mts1b_operations.people import asking
from mts1b_operations.people.act import Acts
from mts1b_operations.people.asked import Asked, Scope
from mts1b_operations.people.asking import ALL
from mts1b_operations.people.looks import Looks
from mts1b_operations.people.serve import ACTED_WITHIN, LOOKED_WITHIN
from mts1b_platform.eventbus import EventBus

_LOOPBACK: Final = "127.0.0.1"


class Backing(Protocol):
    """Answers as the responders do.

    Every call raises Declined (not answered, and why), AccessDenied (not for this role) or another BusError.
    """

    async def look(self, what: str, scope: Scope = ALL, **asked: Any) -> Mapping[str, Any]:
        """Look something up."""
        ...

    async def preview(self, what: str, scope: Scope = ALL, **asked: Any) -> Mapping[str, Any]:
        """What an action would do: ``preview``, ``facts``, ``digest``."""
        ...

    async def act(self, what: str, scope: Scope = ALL, *, request_id: str, **asked: Any) -> Mapping[str, Any]:
        """Have something done, once for each request id."""
        ...

    async def order(self, what: str, scope: Scope = ALL, **said: Any) -> Mapping[str, Any]:
        """Have a run go on, stop or end."""
        ...

    async def close(self) -> None:
        """End what is done here."""
        ...


class Responders:
    """The responders of a secured bus, asked over a person's own connection: the server decides what may be asked."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus

    async def look(self, what: str, scope: Scope = ALL, **asked: Any) -> Mapping[str, Any]:
        """As :class:`Backing`."""
        return await asking.look(self._bus, what, scope, **asked)

    async def preview(self, what: str, scope: Scope = ALL, **asked: Any) -> Mapping[str, Any]:
        """As :class:`Backing`."""
        return await asking.preview(self._bus, what, scope, **asked)

    async def act(self, what: str, scope: Scope = ALL, *, request_id: str, **asked: Any) -> Mapping[str, Any]:
        """As :class:`Backing`."""
        return await asking.act(self._bus, what, scope, request_id=request_id, **asked)

    async def order(self, what: str, scope: Scope = ALL, **said: Any) -> Mapping[str, Any]:
        """As :class:`Backing`."""
        return await asking.order(self._bus, what, scope, **said)

    async def close(self) -> None:
        """As :class:`Backing`: nothing is done here."""


class InProcess:
    """What the responders do, done here: on a bus without identities there is nobody to tell people apart.

    Args:
        bus: a connection that speaks as the operations.
        by: who acts, for halts and the audit log.
    """

    def __init__(self, bus: EventBus, by: str) -> None:
        self._by = by
        self._looks = Looks(bus)
        self._acts = Acts(bus)
        self._open = AsyncExitStack()

    async def look(self, what: str, scope: Scope = ALL, **asked: Any) -> Mapping[str, Any]:
        """As :class:`Backing`."""
        async with asyncio.timeout(LOOKED_WITHIN):
            return await self._looks.answer(self._asked(what, scope, asked))

    async def preview(self, what: str, scope: Scope = ALL, **asked: Any) -> Mapping[str, Any]:
        """As :class:`Backing`."""
        return await self._acted(what, scope, {"preview": True, **asked})

    async def act(self, what: str, scope: Scope = ALL, *, request_id: str, **asked: Any) -> Mapping[str, Any]:
        """As :class:`Backing`."""
        return await self._acted(what, scope, {"request_id": request_id, **asked})

    async def order(self, what: str, scope: Scope = ALL, **said: Any) -> Mapping[str, Any]:
        """As :class:`Backing`."""
        return await self._acted(what, scope, said)

    async def open(self) -> None:
        """Carry runs through, until :meth:`close`."""
        await self._open.enter_async_context(self._acts.runner)

    async def close(self) -> None:
        """As :class:`Backing`."""
        await self._open.aclose()

    async def _acted(self, what: str, scope: Scope, body: Mapping[str, Any]) -> Mapping[str, Any]:
        async with asyncio.timeout(ACTED_WITHIN):
            return await self._acts.answer(self._asked(what, scope, body))

    def _asked(self, what: str, scope: Scope, body: Mapping[str, Any]) -> Asked:
        given = {name: value for name, value in body.items() if value is not None}
        return Asked(self._by, _LOOPBACK, what, scope, given)
