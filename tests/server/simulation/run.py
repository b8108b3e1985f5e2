"""One simulation: a plan carried out in a world of its own, and what came of it."""

import asyncio
import logging
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import aiosqlite
from mts1b_platform.eventbus import EventBus, connect
from mts1b_platform.testing.simulation.clocks import SimChance, SimClock, simulated
from mts1b_platform.testing.simulation.network import SimNetwork, Socket
from mts1b_platform.testing.simulation.process import BUSY, Process, processes
from mts1b_platform.testing.simulation.server import NatsModel
from mts1b_platform.testing.simulation.server.stream import StreamState
from mts1b_platform.testing.simulation.settings import isolated_settings
from mts1b_platform.testing.simulation.sqlite import open_database, simulated_sqlite
from mts1b_platform.testing.simulation.undisturbed import undisturbed
from mts1b_platform.testing.simulation.world import LogLines, World

from simulation.evidence import Evidence, dead_letters, order_of
from simulation.faults import ORDERS, create_stream, inject
from simulation.oracles import Violation, judge
from simulation.plan import Plan
from simulation.record import Ended, Record
from simulation.workloads.orders import Orders, Shares, Standbys
from simulation.workloads.outbox import Outbox
from simulation.workloads.service import Books, Services
from simulation.workloads.workload import Workload

QUIET_WITHIN: Final = 150.0
"""Seconds after the last fault within which everything must be handled, beside the work itself."""
_WORKLOADS: Final[dict[str, type[Workload]]] = {
    "orders": Orders,
    "outbox": Outbox,
    "service": Services,
    "books": Books,
    "standby": Standbys,
    "share": Shares,
}
_RESTART: Final = 0.5
_LOOK: Final = 0.5


class Seat:
    """The surroundings of one simulated process; a ``Stage``."""

    def __init__(self, run: "Run", name: str) -> None:
        self.plan, self.record = run.plan, run.record
        self.name = name
        self.rng = run.world.rng
        self.stop: asyncio.Event | None = None
        self._world, self._listeners = run.world, run.server.listeners
        self.process: Process | None = None
        self.network: SimNetwork | None = None

    def time(self) -> float:
        return self._world.time()

    def block(self, seconds: float) -> None:
        if self.process is not None:
            self.process.block(seconds)

    def note(self, *what: object) -> None:
        self._world.note(*what)

    def connect_options(self) -> dict[str, Any]:
        assert self.process is not None
        self.network = SimNetwork(self.process, self._listeners)
        return {
            "servers": "nats://sim:4222",
            "connect_timeout": 60,
            "network": self.network,
            "clock": SimClock(self.process),
            "chance": SimChance(self._world),
        }

    async def open_database(self, path: Path) -> aiosqlite.Connection:
        return cast("aiosqlite.Connection", await open_database(self._world, path))

    async def connect(self, service: str) -> EventBus:
        return await connect(service=service, **self.connect_options())


@dataclass
class Result:
    """What came of a simulation."""

    plan: Plan
    violations: list[Violation]
    checksum: int
    """Of its transcript."""
    lines: list[str]
    """The last ones of its transcript."""
    virtual: float
    """Seconds of virtual time."""
    steps: int
    effects: int
    injected: Counter[str] = field(default_factory=Counter)


class Run:
    """Carries out one plan."""

    def __init__(self, plan: Plan, *, verbose: bool = False) -> None:
        self.plan = plan
        self.world = World(plan.seed, verbose=verbose)
        self.record = Record()
        self.server = NatsModel(self.world, keeps_files="kill_server" in plan.kinds)
        self.backup: dict[str, StreamState] | None = None
        """A snapshot of the server, for a fault that restores it."""
        self.quiet = False
        """Whether everything was handled in time."""
        for name in (ORDERS, "DEADLETTERS"):
            create_stream(self, name)
        self.workload = _WORKLOADS[plan.workload](plan, self.record)
        self._seats: dict[str, Seat] = {}
        self._generations: Counter[str] = Counter()
        self._not_before: dict[str, float] = {}

    # What faults ask.

    def process(self, role: str) -> Process | None:
        """The process that plays ``role`` now."""
        seat = self._seats.get(role)
        process = seat.process if seat is not None else None
        return process if process is not None and process.alive else None

    def sockets(self, role: str) -> list[Socket]:
        """Its connections that stand."""
        process, seat = self.process(role), self._seats.get(role)
        if process is None or seat is None or seat.network is None:
            return []
        return [socket for socket in seat.network.sockets if socket.open]

    def stop(self, role: str) -> bool:
        """Ask it to end, as SIGTERM does; says whether it listens."""
        process, seat = self.process(role), self._seats.get(role)
        if process is None or seat is None or seat.stop is None or seat.stop.is_set():
            return False
        process.inside(seat.stop.set)
        process.at_exit.append(partial(self._drained, process.name, self.world.now))
        return True

    def _drained(self, process: str, since: float) -> None:
        self.record.drained.append((process, self.world.now - since))

    def start_again(self, role: str, when: float) -> None:
        """Not before then."""
        self._not_before[role] = when

    # The whole.

    def carry_out(self) -> None:
        """Run the plan to its end."""
        world, plan = self.world, self.plan
        for role in self.workload.roles:
            self._start(role)
        world.at(_RESTART, self._supervise)
        for fault in plan.faults:
            if fault.kind == "rollback":
                world.at(fault.at / 2, self._back_up)
            world.at(fault.at, inject, self, fault)
        limit = plan.last_fault + QUIET_WITHIN + 4 * self._work()
        world.run(limit, self._is_quiet)
        self.quiet = world.now < limit
        world.run(world.now + 2 * plan.ack_wait + 1)  # what is still done though all is acknowledged

    def evidence(self) -> Evidence:
        """What there is to judge, in the end."""
        self.workload.gather()
        stream = self.server.streams.get(ORDERS)
        messages = list(stream.messages.values()) if stream is not None else []
        letters = self.server.streams["DEADLETTERS"].messages.values()
        consumers = stream.consumers if stream is not None else {}
        lived = processes(self.world)
        return Evidence(
            self.plan,
            self.record,
            self.quiet,
            {order_of(message.data): message.seq for message in messages},
            len(messages),
            dead_letters(self.record.readers, [letter.data for letter in letters]),
            {name: f"{held.info()['ack_floor']}, {held.pending}" for name, held in consumers.items() if not held.done},
            [f"{process.name}: {message}: {error!r}" for process in lived for message, error in process.complaints],
            [f"{process.name}: {process.busiest} turns" for process in lived if process.busiest > BUSY],
            [f"{process.name}: {left}" for process in lived if process.alive for left in process.doubled_tasks()],
            self.workload.drain_budget,
        )

    def _start(self, role: str) -> None:
        self._generations[role] += 1
        seat = self._seats[role] = Seat(self, f"{role}#{self._generations[role]}")
        main = self.workload.roles[role]

        async def live(process: Process) -> None:
            seat.process = process
            try:
                await main(seat)
            except Exception as error:  # noqa: BLE001 - an oracle judges it
                while isinstance(error, ExceptionGroup):
                    error = error.exceptions[0]  # pyright: ignore[reportUnknownMemberType]
                self._ended(process, error)

        seat.process = Process(self.world, seat.name, live)

    def _ended(self, process: Process, error: Exception) -> None:
        self.world.note("ended", type(error).__name__, str(error)[:200])
        ended = Ended(round(self.world.time(), 3), process.name, type(error).__name__, str(error)[:200])
        self.record.ended.append(ended)

    def _supervise(self) -> None:
        for role in self.workload.roles:
            over = role == "oms" and self.record.all_emitted
            if self.process(role) is None and not over and self.world.now >= self._not_before.get(role, 0.0):
                self._start(role)
        self.world.at(self.world.now + _RESTART, self._supervise)

    def _back_up(self) -> None:
        if self.server.up:
            self.backup = self.server.snapshot()

    def _work(self) -> float:
        plan = self.plan
        return plan.events * (plan.work + plan.block + plan.pace) * (1 + plan.max_deliveries * plan.fail)

    def _is_quiet(self) -> bool:
        if not self.record.all_emitted or self.world.now <= self.plan.last_fault + 0.1 or not self.server.up:
            return False
        if self.workload.waiting():
            return False
        stream = self.server.streams.get(ORDERS)
        if stream is None or len(stream.consumers) < len(self.record.readers):
            return False
        return all(consumer.done for consumer in stream.consumers.values())


def simulate(plan: Plan, *, verbose: bool = False) -> Result:
    """Carry out ``plan`` and judge it."""
    with undisturbed():
        return _simulate(plan, verbose)


def _simulate(plan: Plan, verbose: bool) -> Result:
    run = Run(plan, verbose=verbose)
    world, root = run.world, logging.getLogger()
    before, root.handlers[:] = root.handlers[:], [LogLines(world)]
    try:
        with simulated(world), simulated_sqlite(world), isolated_settings():
            run.carry_out()
        violations = judge(run.evidence())
    finally:
        root.handlers[:] = before
    world.end()
    run.workload.close()
    effects = sum(len(reader.effects) for reader in run.record.readers.values())
    return Result(plan, violations, world.checksum, list(world.lines), world.now, world.steps, effects, world.injected)
