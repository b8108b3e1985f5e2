"""The two responders as processes: one connection that only answers people, one among the services for the work."""

import asyncio
import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from mts1b_platform.eventbus import connect
from mts1b_platform.systemd import notifying

from mts1b_operations.people.act import Acts
from mts1b_operations.people.looks import Looks
from mts1b_operations.people.responder import Responder

LOOK: Final = "mts1b-look"
"""Who answers looks."""
READER: Final = "mts1b-reader"
"""As whom it looks among the services."""
ACT: Final = "mts1b-act"
"""Who answers acts."""
OPERATIONS: Final = "mts1b-operations"
"""As whom it acts among the services."""
LOOKED_WITHIN: Final = 6.0
ACTED_WITHIN: Final = 50.0


@asynccontextmanager
async def looking(**options: Any) -> AsyncGenerator[Responder]:
    """Answer looks inside the block. ``options`` are those of ``connect()``.

    Raises:
        AccessDenied: a certificate of ``mts1b-look`` or ``mts1b-reader`` is missing, or the server does not know it.
    """
    async with (
        await connect(service=READER, watched=False, **options) as services,
        await connect(service=LOOK, watched=False, **options) as people,
    ):
        responder = Responder(people, "look.v1", Looks(services).answer, longest=LOOKED_WITHIN)
        await responder.start()
        yield responder
        await responder.finish()


@asynccontextmanager
async def acting(**options: Any) -> AsyncGenerator[Responder]:
    """Answer acts inside the block. ``options`` are those of ``connect()``.

    Its connections are not watched: an audit log that fails must not keep halts from being done. What is done, the
    actions write down themselves.

    Raises:
        AccessDenied: a certificate of ``mts1b-act`` or ``mts1b-operations`` is missing, or the server does not know it.
    """
    async with (
        await connect(service=OPERATIONS, watched=False, **options) as services,
        await connect(service=ACT, watched=False, **options) as people,
    ):
        acts = Acts(services)
        responder = Responder(people, "act.v1", acts.answer, longest=ACTED_WITHIN, exempt=acts.at_once)
        async with acts.runner:
            await responder.start()
            yield responder
            await responder.finish()


async def until_told(responding: Callable[..., Any], said: Callable[[str], None], **options: Any) -> None:
    """Respond until SIGTERM or SIGINT, and finish what is under way."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with responding(**options) as responder, notifying():
        said("answering")
        await stop.wait()
    said(f"answered {responder.answered}, declined {responder.declined}")
