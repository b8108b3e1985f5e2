"""A repo's own service in a simulated world: virtual time, a model of nats-server, faults that a seed decides.

::

    @pytest.mark.parametrize("seed", range(50))
    def test_whatever_goes_wrong_every_fill_is_noted_once(simulate: Simulate, seed: int) -> None:
        world = simulate(seed)
        world.start(service)
        world.publish(OMS_FILLS_CREATED, *fills, every=0.1)
        world.trouble()
        world.settle()
        assert [note.note_id for note in world.published(NOTED)] == [fill.fill_id for fill in fills]

The code of the service is its own, and the bus's too; the same seed gives the same run. A run takes milliseconds,
however long the service waits.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import Any, Final, Literal, Self, get_args

from mts1b_foundation.deadletters import DeadLetter
from mts1b_foundation.subjects import DurableSubject, Subject, deadletters_of
from mts1b_foundation.subjects.subject import T

from mts1b_platform.eventbus import connect
from mts1b_platform.eventbus.declared import declared
from mts1b_platform.service import Service
from mts1b_platform.testing.simulation.process import Process, processes
from mts1b_platform.testing.simulation.server import NatsModel
from mts1b_platform.testing.simulation.server.model import ADDRESS
from mts1b_platform.testing.simulation.server.stream import Stream
from mts1b_platform.testing.simulation.server.subjects import tokens_match
from mts1b_platform.testing.simulation.simulated_service import Networks, SimulatedService
from mts1b_platform.testing.simulation.surroundings import surroundings
from mts1b_platform.testing.simulation.undisturbed import undisturbed
from mts1b_platform.testing.simulation.world import LogLines, World

Trouble = Literal["kill", "stop", "freeze", "disconnect", "isolate", "kill server", "freeze server", "clock"]
"""What :meth:`Simulation.trouble` may do."""

_KINDS: Final[tuple[Trouble, ...]] = get_args(Trouble)
_PATIENCE: Final = 600.0
_SHOWN: Final = 60


class Simulation:
    """A world of its own, with a server that holds every declared stream. Use it in ``with``.

    Args:
        seed: decides everything that chance decides.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed: Final = seed
        self.world: Final = World(seed)
        self.server: Final = NatsModel(self.world, keeps_files=True)
        self.services: Final[list[SimulatedService]] = []
        for definition in declared().streams:
            self.server.streams[definition.name] = Stream(
                self.server, definition.render("minimal"), self.server.wall_ns()
            )
        self._publishers: dict[str, _Publisher] = {}
        self._networks: Networks = {}
        self._over_at = 0.0
        """When the last trouble is over."""
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(undisturbed(self._end))
            root = logging.getLogger()
            stack.callback(setattr, root, "handlers", root.handlers[:])
            root.handlers = [LogLines(self.world)]
            stack.enter_context(surroundings(self.world, ADDRESS, self.server.listeners, self._networks))
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open.close()

    def _end(self) -> None:
        if self.server.up:
            self.server.kill(keep=0.0)
        lived = processes(self.world)
        self.world.end()
        for process in lived:
            process.close()
        for service in self.services:
            service.end()
        self._networks.clear()
        self._publishers.clear()

    # What there is.

    def start(self, service: Service | Callable[[], Service]) -> SimulatedService:
        """Start a process that runs ``service``.

        Args:
            service: as it was declared; or a function that makes it, called for each process: each has its own memory
                then, and there may be several instances.

        Raises:
            RuntimeError: that very object runs already.
        """
        if isinstance(service, Service):
            if any(one.running and service is one.made[-1] for one in self.services):
                raise RuntimeError(
                    f"{service.name} runs already: for a second instance hand in a function that makes it"
                )
            make, name = partial(_itself, service), service.name
        else:
            make, name = service, service().name
        others = sum(each.name.partition(" ")[0] == name for each in self.services)
        made = SimulatedService(self.world, self._networks, make, f"{name} {others + 1}" if others else name)
        self.services.append(made)
        made.start()
        return made

    def publish(self, subject: Subject[T], *events: T, every: float = 0.0) -> None:
        """Have the producer of ``subject``, whoever that is, emit ``events`` when time passes, one after the other.

        What one producer is given in several calls it emits in the order of the calls.

        Args:
            subject: where.
            events: what.
            every: seconds between two of them.
        """
        publisher = self._publishers.get(subject.producer)
        if publisher is None:
            publisher = self._publishers[subject.producer] = _Publisher(self.world, subject.producer)
        publisher.add(subject, events, every)

    # Time.

    def at(self, seconds: float, call: Callable[[], object]) -> None:
        """Have ``call`` happen so many seconds from now: ``world.at(0.5, alpha.kill)``."""
        self.world.at(self.world.now + seconds, call)
        self._busy_until(seconds)

    def run(self, seconds: float) -> None:
        """Let time pass, and with it everything happen that is due.

        Raises:
            RuntimeError: a service has ended by an error, or raised one that nobody waited for.
        """
        self.world.run(self.world.now + seconds)
        self._raise_what_went_wrong()

    def settle(self, *, within: float = _PATIENCE) -> None:
        """Let time pass until trouble is over, everything is published, and every durable has acknowledged all.

        Retries are included. What became a dead letter is acknowledged too: see :meth:`dead_letters`. Best-effort
        events are not settled, as nobody acknowledges them: :meth:`run` lets them pass.

        Raises:
            TimeoutError: it took longer than ``within`` seconds of virtual time; says what is left.
            RuntimeError: a service has ended by an error, or raised one that nobody waited for.
        """
        limit = max(self.world.now, self._over_at) + within
        while (left := self._left()) and self.world.now < limit:
            self.world.run(min(limit, max(self.world.now, self._over_at) + 0.1))
            self._raise_what_went_wrong()
        if left:
            raise TimeoutError(f"not settled within {within:g} virtual seconds: {'; '.join(left)}")

    # What goes wrong.

    def trouble(self, *kinds: Trouble, times: int = 3, within: float = 3.0) -> list[str]:
        """Have things go wrong ``times`` times within the next seconds, as the seed decides; says what will happen.

        Services that are killed or stopped are started again within three seconds, and so is the server.

        Args:
            kinds: what may go wrong; all kinds when left out.
            times: how often.
            within: seconds from now.

        Raises:
            ValueError: there is no such kind.
        """
        if unknown := set(kinds) - set(_KINDS):
            raise ValueError(f"there is no trouble {', '.join(sorted(unknown))}: choose from {', '.join(_KINDS)}")
        rng, told = self.world.rng, list[str]()
        for _ in range(times):
            when, kind, much = rng.uniform(0, within), rng.choice(kinds or _KINDS), rng.random()
            who = rng.choice(self.services) if self.services else None
            if kind in {"kill server", "freeze server", "clock"}:
                self.at(when, partial(self._upset_all, kind, much))
                told.append(f"{kind} at {when:.3f}")
            elif who is not None:
                self.at(when, partial(self._upset, who, kind, much))
                told.append(f"{kind} {who.name} at {when:.3f}")
            self._busy_until(when + 10.0)
        return sorted(told, key=lambda each: float(each.rpartition(" ")[2]))

    def kill_server(self, *, back_after: float = 1.0) -> None:
        """Kill the server: what is stored stays, and consumers mostly are as they were a moment ago."""
        if self.server.up:
            self.world.note("kill server")
            disk = self.server.snapshot(as_written=self.world.rng.random() > 0.3)
            self.server.kill(keep=self.world.rng.random())
            self.world.at(self.world.now + back_after, self.server.start, disk)
            self._busy_until(back_after)

    def freeze_server(self, seconds: float) -> None:
        """Have the server stand still for so long."""
        if self.server.up:
            self.world.note("freeze server", seconds)
            self.server.freeze(seconds)
            self._busy_until(seconds)

    def set_clock(self, by: float) -> None:
        """Have the wall clock of all machines jump by so many seconds, to the past if negative."""
        self.world.note("clock", by)
        self.world.wall_offset += by

    # What came of it.

    def published(self, subject: DurableSubject[T]) -> list[T]:
        """What the server holds of ``subject``, oldest first."""
        patterns = [pattern.split(".") for pattern in subject.patterns]
        return [
            subject.payload.model_validate_json(message.data)
            for stream in self.server.streams.values()
            for message in stream.messages.values()
            if any(tokens_match(pattern, message.tokens) for pattern in patterns)
        ]

    def dead_letters(self, service: str | None = None) -> list[DeadLetter]:
        """What the service with this name gave up on, oldest first; without a name what all that were started did."""
        names = {made.name for each in self.services for made in each.made} if service is None else {service}
        return [letter for name in sorted(names) for letter in self.published(deadletters_of(name))]

    @property
    def story(self) -> str:
        """The last lines of what happened, with virtual times: log lines, faults, starts and ends."""
        lines = list(self.world.lines)[-_SHOWN:]
        return "\n".join([f"seed {self.seed}, {self.world.now:.3f} virtual seconds", *lines])

    def _upset(self, who: SimulatedService, kind: Trouble, much: float) -> None:
        match kind:
            case "kill":
                who.kill(back_after=3 * much)
            case "stop":
                who.stop()
                self.world.at(self.world.now + 3.0, self._back, who)
            case "freeze":
                who.freeze(0.5 + 10 * much)
            case "disconnect":
                who.disconnect()
            case _:
                who.isolate()

    def _upset_all(self, kind: Trouble, much: float) -> None:
        match kind:
            case "kill server":
                self.kill_server(back_after=0.2 + 3 * much)
            case "freeze server":
                self.freeze_server(0.2 + 6 * much)
            case _:
                self.set_clock((much - 0.5) * 7200)

    def _back(self, who: SimulatedService) -> None:
        """Start it again once it has drained."""
        if not who.running:
            who.start()
        elif who.stopping:
            self.world.at(self.world.now + 0.5, self._back, who)

    def _busy_until(self, seconds: float) -> None:
        self._over_at = max(self._over_at, self.world.now + seconds)

    def _left(self) -> list[str]:
        """What is still to be done, in words."""
        if self.world.now < self._over_at:
            return ["trouble"]
        left = [f"{each.left} events of {name} not stored" for name, each in self._publishers.items() if each.left]
        left += [f"{each.name} is not ready" for each in self.services if each.running and not each.ready]
        if not self.server.up:
            return [*left, "the server is down"]
        durables = {
            (durable, subjects) for each in self.services for durable, subjects in each.made[-1].durables.items()
        }
        for durable, subjects in sorted(durables, key=lambda each: each[0]):
            stream = self._stream_of(subjects[0])
            consumer = stream.consumers.get(durable) if stream is not None else None
            if consumer is None:
                left.append(f"{durable}: not made yet")
            elif not consumer.done:
                info = consumer.info()
                left.append(
                    f"{durable}: {info['num_pending']} not delivered, {info['num_ack_pending']} not acknowledged"
                )
        return left

    def _stream_of(self, subject: DurableSubject[Any]) -> Stream | None:
        tokens = subject.patterns[0].split(".")
        return next((stream for stream in self.server.streams.values() if stream.stores(tokens)), None)

    def _raise_what_went_wrong(self) -> None:
        for each in (*self.services, *self._publishers.values()):
            if each.error is not None:
                raise RuntimeError(f"{each.name} ended with {type(each.error).__name__}: {each.error}") from each.error
            if each.complaints:
                raise RuntimeError(f"{each.name}: nobody waited for {'; '.join(each.complaints)}")


def _itself(service: Service) -> Service:
    return service


class _Publisher:
    """A process that emits what it is given, in order."""

    def __init__(self, world: World, name: str) -> None:
        self.name = f"{name} that publishes"
        self.error: Exception | None = None
        self.left = 0
        self._service = name
        self._queue: deque[tuple[Subject[Any], Any, float]] = deque()
        self._more: asyncio.Event | None = None
        self._process = Process(world, self.name, self._live)

    @property
    def complaints(self) -> list[str]:
        return [f"{message}: {error!r}" for message, error in self._process.complaints]

    def add(self, subject: Subject[Any], events: tuple[Any, ...], every: float) -> None:
        self._queue.extend((subject, event, every) for event in events)
        self.left += len(events)
        if self._more is not None:
            self._process.inside(self._more.set)

    async def _live(self, _: Process) -> None:
        try:
            await self._emit_all()
        except Exception as error:  # noqa: BLE001 - settle() raises it
            self.error = error

    async def _emit_all(self) -> None:
        more = self._more = asyncio.Event()
        bus = await connect(service=self._service)
        while True:
            while self._queue:
                subject, event, every = self._queue.popleft()
                await bus.emit(subject, event, deadline=_PATIENCE)
                self.left -= 1
                await asyncio.sleep(every)
            more.clear()
            await more.wait()
