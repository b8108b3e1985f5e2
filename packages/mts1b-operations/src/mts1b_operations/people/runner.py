"""Working on runs: about ten letters a second, one responder at a time, gone on with by another when that one is gone.

A responder writes how far it is after every letter, and every second while one takes long. What is not written for
:data:`LEFT_AFTER` seconds, by the clock of who watches it, is taken up by another. Should both be at work for a moment,
no letter is requeued twice: each has one end (``deadletters/ends.py``).
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from mts1b_platform.eventbus import BusClosed, BusError, EventBus
from mts1b_platform.logs import get_logger
from mts1b_platform.observability.audit import AuditError

from mts1b_operations.deadletters.ends import DeadLetterError
from mts1b_operations.deadletters.republish import OwnerAway
from mts1b_operations.people.each import Done, read_letters, step
from mts1b_operations.people.runs import MOST_REFUSED, MOST_STORED, Held, Progress, Runs, now

log = get_logger("mts1b.people.runs")

PER_SECOND: Final = 10.0
"""Letters a second."""
LEFT_AFTER: Final = 5.0
"""Seconds after which a run that nobody writes is taken up by another."""
_LOOK_EVERY: Final = 1.0
_SIGN_OF_LIFE: Final = 1.0
_PAGE: Final = 25
"""Letters that are looked for at once."""


@dataclass(slots=True)
class _Watched:
    revision: int
    since: float


class Runner:
    """Works on the runs of ``bus``, which speaks as the operations, while inside ``async with``."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self._runs = Runs(bus)
        self._name = secrets.token_hex(6)
        self._wake = asyncio.Event()
        self._ended: set[str] = set()
        self._watched: dict[str, _Watched] = {}
        self._mine: dict[str, asyncio.Task[None]] = {}
        self._watching: asyncio.Task[None] | None = None
        self._trouble = ""

    async def __aenter__(self) -> Self:
        self._watching = asyncio.create_task(self._watch(), name="look for runs")
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = [task for task in (self._watching, *self._mine.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def wake(self) -> None:
        """Look at once: a run was begun, or goes on."""
        self._wake.set()

    async def _watch(self) -> None:
        while not self._bus.is_closed:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_EVERY):
                    await self._wake.wait()
            self._wake.clear()
            try:
                for run_id in await self._runs.ids():
                    if run_id not in self._ended and run_id not in self._mine:
                        await self._look_at(run_id)
                self._trouble = ""
            except BusClosed:
                return
            except BusError as error:
                if str(error) != self._trouble:  # once, however long it lasts
                    log.warning("runs cannot be looked for; trying again", error=str(error))
                self._trouble = str(error)

    async def _look_at(self, run_id: str) -> None:
        held = await self._runs.find(run_id)
        if held is None:
            return
        progress = held.progress
        if progress.state == "finished":
            self._ended.add(run_id)
        if progress.state != "running":
            return
        if progress.holder:
            clock = asyncio.get_running_loop().time()
            watched = self._watched.get(run_id)
            if watched is None or watched.revision != held.revision:
                self._watched[run_id] = _Watched(held.revision, clock)
                return
            if clock - watched.since < LEFT_AFTER:
                return
            log.warning("going on with a run that another responder has left", run_id=run_id, at=progress.at)
        taken = await self._runs.write(held, replace(progress, holder=self._name, changed=now()))
        if taken is not None:
            self._watched.pop(run_id, None)
            task = asyncio.create_task(_Work(self._bus, self._runs, taken).carry(), name=f"run {run_id}")
            self._mine[run_id] = task
            task.add_done_callback(lambda _: self._mine.pop(run_id, None))


class _Lost(Exception):
    """Somebody else has changed the run: a person, or who took it up."""


class _Work:
    """One run, worked on here."""

    def __init__(self, bus: EventBus, runs: Runs, held: Held) -> None:
        self._bus = bus
        self._runs = runs
        self._held = held
        self._writing = asyncio.Lock()

    async def carry(self) -> None:
        """Go on until it is finished, waits, or is another's."""
        run = self._held.run
        alive = asyncio.create_task(self._live(), name="sign of life")
        try:
            while self._held.progress.state == "running":
                await self._patiently(self._page)
        except (_Lost, BusClosed):
            return
        except (OwnerAway, AuditError) as error:
            await self._stop(str(error))
        except Exception as error:
            log.exception("a run stopped as it should not", run_id=run.run_id)
            await self._stop(f"the responder failed, its log says why: {type(error).__name__}")
        finally:
            alive.cancel()
            with suppress(asyncio.CancelledError):
                await alive
        progress = self._held.progress
        log.info("run", run_id=run.run_id, what=run.what, person=run.by, state=progress.state, done=progress.done)

    async def _page(self) -> None:
        """The next letters."""
        run, progress = self._held.run, self._held.progress
        end = min(progress.until, progress.at + _PAGE)
        if progress.at >= end:
            state = "finished" if progress.at >= len(run.ids) else "waiting"
            await self._write(state=state, holder="", trouble="")
            return
        names = run.ids[progress.at : end]
        found = await read_letters(self._bus, run, names)
        for name in names:
            began = asyncio.get_running_loop().time()
            try:
                done = await step(self._bus, run, name, found.get(name))
            except OwnerAway:
                raise  # the others would wait for the same one
            except DeadLetterError as error:
                done = Done(refused=str(error))
            await self._advance(name, done)
            await asyncio.sleep(max(0.0, began + 1 / PER_SECOND - asyncio.get_running_loop().time()))

    async def _advance(self, name: str, done: Done) -> None:
        before = self._held.progress
        changes: dict[str, Any] = {"at": before.at + 1, "trouble": ""}
        if done.refused:
            refused = ({"id": name, "why": done.refused}, *before.refused)[:MOST_REFUSED]
            changes |= {"failed": before.failed + 1, "refused": refused}
        else:
            changes |= {"done": before.done + 1}
        if done.stored:
            changes |= {"stored": (done.stored, *before.stored)[:MOST_STORED]}
        await self._write(**changes)

    async def _live(self) -> None:
        """Say that somebody is here, while a letter takes long."""
        while True:
            await asyncio.sleep(_SIGN_OF_LIFE)
            with suppress(BusError, _Lost):  # who works on it finds out
                await self._write()

    async def _write(self, **changes: Any) -> None:
        """Write how far it is.

        Raises:
            _Lost: somebody else has changed it.
        """
        async with self._writing:
            progress: Progress = replace(self._held.progress, changed=now(), **changes)
            written = await self._runs.write(self._held, progress)
            if written is None:
                written = await self._runs.again(self._held)
                if written.progress != progress:  # not the own write, whose ack was lost
                    raise _Lost
            self._held = written

    async def _stop(self, trouble: str) -> None:
        with suppress(BusError, _Lost):
            await self._write(state="stopped", holder="", trouble=trouble)

    async def _patiently(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do ``work``; when the server is away, wait for it."""
        try:
            await work()
        except (BusClosed, OwnerAway, DeadLetterError):
            raise
        except BusError as error:
            log.warning("a run waits for the server", run_id=self._held.run.run_id, error=str(error))
            await asyncio.sleep(_SIGN_OF_LIFE)
