"""A service of the desk on the bus: ready when it hears everything, answering while it runs, drained when it ends."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mts1b_platform.eventbus import EventBus
from mts1b_platform.logs import get_logger
from mts1b_platform.service.requeue import answer_requeues
from pydantic import BaseModel

from mts1b_desk.protocol import Progress, Status
from mts1b_desk.services.requests import Answer, serve_endpoints
from mts1b_desk.settings import DeskSettings
from mts1b_desk.state.office import Office

if TYPE_CHECKING:
    from nats.micro.service import Service as Micro

log = get_logger("mts1b.desk.service")

Job = Callable[[], Coroutine[Any, Any, None]]
"""Something that a service does until the bus drains."""


class Service:
    """Base of the running services.

    ``run`` returns after :meth:`stop` was called, when everything in hand is finished; it raises when the service
    cannot go on.
    """

    name: str
    repo: str

    def __init__(self, bus: EventBus, settings: DeskSettings) -> None:
        self.bus = bus
        self.settings = settings
        self.office: Office | None = None
        """What this instance must hold before it works, where there are several."""
        self.ready = False
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """End soon: read nothing new, finish what is in hand."""
        self._stop.set()

    async def run(self) -> None:
        """Serve until stopped.

        Raises:
            BusError: the bus cannot be used as the service needs it.
        """
        micro: Micro | None = None
        keeping: asyncio.Task[None] | None = None
        try:
            async with asyncio.TaskGroup() as group:
                if self.office is not None:
                    if not await self._in_office(self.office):
                        return
                    keeping = group.create_task(self.office.keep())
                await answer_requeues(self.bus)
                await self.prepare()
                micro = await self._answer()
                jobs = [group.create_task(job()) for job in self.jobs()]
                jobs.append(group.create_task(self._become_ready()))
                await self._stop.wait()
                await micro.stop()
                await self.finish()
                await self.bus.drain()
                for job in jobs:
                    job.cancel()
                if keeping is not None:
                    keeping.cancel()
        finally:
            await self.bus.drain()
            await self.close()
            if self.office is not None:
                await self.office.leave()

    async def prepare(self) -> None:
        """Subscribe and find or create the durables, before the service says that it is there."""

    async def finish(self) -> None:
        """Store what is in hand; the bus is still there."""

    async def close(self) -> None:
        """Release everything but the bus."""

    async def settle(self) -> None:
        """Return when everything that was decided before the session, such as halts, is known."""

    def jobs(self) -> list[Job]:
        """What runs side by side."""
        return []

    def answers(self) -> dict[str, Answer]:
        """Further endpoints."""
        return {}

    def status(self) -> Status:
        """How the service is doing."""
        counters = self.bus.counters
        return Status(
            service=self.name,
            session=self.settings.session,
            pid=os.getpid(),
            ready=self.ready,
            closed=False,
            idle=True,
            published=dict(counters.published),
            consumed=dict(counters.consumed),
            market_time=self.market_time,
        )

    async def readiness(self) -> str | None:
        """What still keeps the service from working; None when it is ready, or stands by."""
        return (
            None if self.ready or self.stands_by else "not ready yet: finding out what was decided before the session"
        )

    @property
    def stands_by(self) -> bool:
        """Whether another instance works, and this one waits to take over."""
        return self.office is not None and not self.office.term

    def progress(self) -> Progress:
        """How far the service is."""
        return Progress()

    @property
    def market_time(self) -> datetime | None:
        """Market time of the last quote or bar."""
        return None

    async def _in_office(self, office: Office) -> bool:
        """Wait for the office; False when the service is to end before."""
        log.info("stands by: another instance works, or none has begun", service=self.name, member=office.member)
        taking, stopped = asyncio.create_task(office.take()), asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait((taking, stopped), return_when=asyncio.FIRST_COMPLETED)
            if taking.done():
                await taking
            return taking.done() and not self._stop.is_set()
        finally:
            for task in (taking, stopped):
                task.cancel()
            await asyncio.wait((taking, stopped))

    async def _become_ready(self) -> None:
        await self.settle()
        self.ready = True

    async def _answer(self) -> "Micro":
        async def status(_: bytes) -> BaseModel:
            return self.status()

        async def progress(_: bytes) -> BaseModel:
            return self.progress()

        metadata = {"session": self.settings.session, "pid": str(os.getpid())}
        answers: dict[str, Any] = {"status": status, "progress": progress, **self.answers()}
        if self.office is not None:
            metadata["instance"] = self.office.member
        return await serve_endpoints(self.bus, self.name, metadata, answers, office=self.office)
