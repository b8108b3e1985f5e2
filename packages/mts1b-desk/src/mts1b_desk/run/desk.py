"""A whole run: check, start, watch, recognise the end, compare the books, clean up."""

import asyncio
import signal
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from mts1b_platform.eventbus import STREAMS, BusError, EventBus, JetStreamUnavailable, NoStream, stream_config
from mts1b_platform.eventbus.jetstream.api import ApiError, js_api
from mts1b_platform.server import NatsServer
from rich.console import Console

from mts1b_desk.books import BrokerBook, OmsBook, TreasuryBook
from mts1b_desk.errors import RunFailed
from mts1b_desk.ledger import ledger_document
from mts1b_desk.protocol import SERVICES, Durable, Status
from mts1b_desk.reconcile import reconcile
from mts1b_desk.report.collect import collect
from mts1b_desk.report.write import write_report
from mts1b_desk.run.children import Children
from mts1b_desk.run.inside import Inside
from mts1b_desk.run.operator import connect_as_operator
from mts1b_desk.run.progress import ProgressView
from mts1b_desk.run.quiescence import at_rest
from mts1b_desk.run.server import server_in_memory
from mts1b_desk.services.requests import NoAnswer, ask, running_desk
from mts1b_desk.settings import DeskSettings, Durability

_POLL = 0.05
_SHOW = 0.25
_SILENT = 30.0
"""Seconds that services, none of which died, may leave questions unanswered."""
_LISTENERS = SERVICES[:-1]
R = TypeVar("R")


class Run:
    """One run of all services on one server.

    Args:
        settings: what to run.
        console: where progress goes.
        title: what the run is called there.
        report: a file to write the report of the session to, before the streams are left.
    """

    def __init__(self, settings: DeskSettings, console: Console, title: str, *, report: Path | None = None) -> None:
        self._settings = settings
        self._report = report
        self._server: NatsServer | None = None
        self._console = console
        self._view = ProgressView(console, title)
        self._interrupts = 0
        self._durables: set[Durable] = set()

    async def __call__(self) -> dict[str, Any]:
        """Run to the end of the data, or until interrupted; returns the ledger.

        Raises:
            RunFailed: another desk runs on the server, or a service ended again and again or fell silent.
            BusError: there is no server, or it lacks streams.
            ServerError: the run wants a server of its own, and none starts.
        """
        if self._settings.durability is Durability.DURABLE:
            return await self._run()
        async with server_in_memory() as server:
            self._server = server
            self._settings = self._settings.model_copy(update={"servers": (server.url,)})
            self._console.print(f"State and streams in memory, on {server.url} until the run ends", highlight=False)
            return await self._run()

    async def _run(self) -> dict[str, Any]:
        async with await connect_as_operator(self._settings.servers, actor=f"desk-{self._settings.session}") as bus:
            # The services dial what this process found; they start together, and market data waits for the others.
            found = {"servers": bus.settings.servers, "after": _LISTENERS}
            self._settings = self._settings.model_copy(update=found)
            await self._refuse_a_second_desk(bus)
            await _check_streams(bus)
            with tempfile.TemporaryDirectory(prefix=f"mts1b-desk-{self._settings.session}-") as temporary:
                directory = self._settings.state
                if directory is None:
                    directory = Path(temporary)
                    self._settings = self._settings.model_copy(update={"state": directory, "keep": False})
                async with self._children(directory) as children:
                    over = False
                    try:
                        await self._start(bus, children)
                        with self._view:
                            await self._watch(bus, children)
                        document = await self._told(children, lambda: ledger_of(bus))
                        if self._report is not None:
                            write_report(await collect(bus, self._settings.session, lambda _: None), self._report)
                        over = True
                        return document
                    finally:
                        await children.stop()
                        if self._server is None and not bus.has_identities and (over or not self._settings.kept):
                            await self._forget_durables(bus)

    @asynccontextmanager
    async def _children(self, directory: Path) -> AsyncGenerator[Children | Inside]:
        if self._server is None:
            children: Children | Inside = Children(directory, self._settings)
        else:
            children = Inside(directory, self._settings, self._server)
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()

        def interrupted() -> None:
            self._interrupts += 1
            if self._interrupts > 1 and task is not None:
                task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, interrupted)
        try:
            yield children
        finally:
            children.kill()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    async def _start(self, bus: EventBus, children: Children | Inside) -> None:
        """All at once; market data opens when the others are ready."""
        for service in SERVICES:
            await children.start(service)
        await self._until_ready(bus, children, _LISTENERS)
        oms = await self._told(children, lambda: ask(bus, "oms", "book", OmsBook))
        for halt in oms.halts:
            scope = "every fund" if halt.fund_id is None else f"fund {halt.fund_id}"
            self._console.print(
                f"[yellow]halt {halt.halt_id} is in force[/] for {scope} ({halt.actor}: {halt.reason}): orders will be "
                f"rejected until `mts1b halt clear {halt.halt_id}`"
            )
        await self._until_ready(bus, children, ("marketdata",))

    async def _until_ready(self, bus: EventBus, children: Children | Inside, services: tuple[str, ...]) -> None:
        waiting = list(services)
        loop = asyncio.get_running_loop()
        end = loop.time() + self._settings.start_within
        while waiting:
            await self._revive(children)
            if loop.time() > end:
                raise RunFailed(f"not ready within {self._settings.start_within:g} s: {', '.join(waiting)}")
            for service in tuple(waiting):
                with suppress(NoAnswer):
                    status = await ask(bus, service, "status", Status, timeout=1)
                    if status.ready and status.session == self._settings.session:
                        waiting.remove(service)
                        self._durables |= set(status.durables)
            await asyncio.sleep(_POLL)

    async def _watch(self, bus: EventBus, children: Children | Inside) -> None:
        """Show progress until the desk has come to rest."""
        loop = asyncio.get_running_loop()
        heard = shown = loop.time()
        told = False
        while True:
            if await self._revive(children):
                heard = loop.time()
                told = False
            if self._interrupts and not told:
                with suppress(NoAnswer):
                    await ask(bus, "marketdata", "close", Status)
                    told = True
            try:
                show = loop.time() - shown >= _SHOW
                # While the market is open nothing can be at rest: the others are asked for what is shown alone.
                if (await ask(bus, "marketdata", "status", Status)).closed or show:
                    statuses = {service: await ask(bus, service, "status", Status) for service in SERVICES}
                else:
                    statuses = dict[str, Status]()
                if show:
                    shown = loop.time()
                    self._view.show(statuses, await ask(bus, "treasury", "book", TreasuryBook))
                if await at_rest(bus, list(statuses.values())):
                    await ask(bus, "treasury", "finalise", TreasuryBook, timeout=_SILENT)
                    await _until_told(bus)
                    return
                heard = loop.time()
            except (NoAnswer, JetStreamUnavailable, ApiError) as error:
                if loop.time() - heard > _SILENT:
                    raise RunFailed(f"the run is stuck: {error}") from None
            await asyncio.sleep(_POLL)

    async def _told(self, children: Children | Inside, question: Callable[[], Awaitable[R]]) -> R:
        """The answer to a question, asked again while services that die are started again."""
        loop = asyncio.get_running_loop()
        end = loop.time() + _SILENT
        while True:
            try:
                return await question()
            except NoAnswer as error:
                if await self._revive(children):
                    end = loop.time() + _SILENT
                if loop.time() > end:
                    raise RunFailed(f"the run is stuck: {error}") from None
                await asyncio.sleep(_POLL)

    async def _revive(self, children: Children | Inside) -> bool:
        news = await children.revive()
        for line in news:
            self._console.print(line, highlight=False, soft_wrap=True)
        return bool(news)

    async def _refuse_a_second_desk(self, bus: EventBus) -> None:
        if running := await running_desk(bus):
            name, metadata = next(iter(sorted(running.items())))
            raise RunFailed(
                f"a desk runs on this server already (session {metadata.get('session')}, {name} is process "
                f"{metadata.get('pid')}): end it first, watch it with `mts1b-desk ledger`, or give this run another "
                "server with --servers"
            )

    async def _forget_durables(self, bus: EventBus) -> None:
        for durable in self._durables:
            with suppress(BusError):
                await js_api(bus, f"CONSUMER.DELETE.{durable.stream}.{durable.name}")


def loop_of(settings: DeskSettings) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the event loop of a run: uvloop's where all services share it, asyncio's own where it only watches."""
    if settings.durability is Durability.DURABLE:
        return None
    import uvloop

    return uvloop.new_event_loop


async def ledger_of(bus: EventBus, *, timeout: float = 2.0) -> dict[str, Any]:
    """The ledger of the desk that runs on this server; each service may take ``timeout`` seconds for its answer.

    Raises:
        NoAnswer: no desk runs there.
    """
    oms = await ask(bus, "oms", "book", OmsBook, timeout=timeout)
    brokers = await ask(bus, "brokers", "book", BrokerBook, timeout=timeout)
    treasury = await ask(bus, "treasury", "book", TreasuryBook, timeout=timeout)
    status = await ask(bus, "oms", "status", Status, timeout=timeout)
    differences = reconcile(oms, brokers, treasury)
    return ledger_document(oms, brokers, treasury, differences, session=status.session)


async def _until_told(bus: EventBus) -> None:
    """Wait until the final valuations are in their stream, from which a report reads them."""
    while not (await ask(bus, "treasury", "status", Status)).idle:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(_POLL)


async def _check_streams(bus: EventBus) -> None:
    for definition in STREAMS:
        if await stream_config(bus, definition.name) is None:
            raise NoStream(
                f"stream {definition.name} does not exist on this server: create the streams with "
                "`mts1b streams apply`, or install a server that has them with "
                "`mts1b-deploy install --profile minimal --include nats`"
            )
