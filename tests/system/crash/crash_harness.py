"""One run of the crash matrix: two producers and two consumers, killed at named points and at random, the server too.

The judge looks only at what is left at the end: the stream, the effects, the dead letters.
"""

import asyncio
import json
import random
import signal
import time
from collections import Counter, deque
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crash_child import AGAIN, DURABLE, FUNDS
from crash_children import Children
from crash_places import STALL, Kind, Place
from mts1b_foundation.deadletters import DeadLetter
from mts1b_platform.eventbus import EventBus, apply_streams, connect
from mts1b_platform.eventbus.errors import BusError, JetStreamUnavailable
from mts1b_platform.eventbus.jetstream.api import ApiError, js_api
from mts1b_platform.server import NatsServer

CONSUMER_POINTS = (
    "before effect",
    "after effect",
    "after mark",
    "before ack",
    "after ack",
    "before dead letter",
    "after dead letter",
)
RELAY_POINTS = ("between publish and mark", "after removal")
OUTBOX_POINTS = ("before commit", "between commit and publish", *RELAY_POINTS)
PLAIN_POINTS = ("before publish", "between ack and note")


def producer_points(kind: Kind) -> tuple[str, ...]:
    """Where a producer of this kind can be killed."""
    return OUTBOX_POINTS if kind in ("sqlite", "postgres") else PLAIN_POINTS


@dataclass
class Plan:
    """What one run does.

    Attributes:
        events: orders produced in all.
        rounds: how often each named point is used.
        at_most: a fuse burns when its point is reached for a random time up to this one.
        random_kills: further kills of a consumer or producer at any moment.
        server_kills: kill -9 and restart of the server, at random moments.
        ordered: one consumer, several handlers at a time, ordered by fund; the order of the effects is judged too.
        server_stops: SIGSTOP of the server for up to three seconds, at random moments.
    """

    kind: Kind
    events: int
    rounds: int = 1
    at_most: int = 3
    random_kills: int = 0
    server_kills: int = 1
    server_stops: int = 1
    poison_every: int = 5
    ordered: bool = False
    seed: int = 0
    deadline: float = 600.0


@dataclass
class Figures:
    """What came out, and what the judge has to say."""

    plan: Plan
    kills: Counter[str] = field(default_factory=Counter[str])
    unburnt: list[str] = field(default_factory=list[str])
    committed: int = 0
    stored: int = 0
    effects: int = 0
    effects_doubled: int = 0
    dead_letters: int = 0
    stalls: int = 0
    """How often a consumer stood still without having been killed."""
    server_stalls: int = 0
    """How often the server did, without having been killed or frozen."""
    seconds: float = 0.0
    complaints: list[str] = field(default_factory=list[str])

    @property
    def killed(self) -> int:
        """Kills of any process, the server's among them; freezes are not counted."""
        return sum(count for what, count in self.kills.items() if what != "server stop")

    def line(self) -> str:
        """One line for people."""
        name = "ordered" if self.plan.ordered else self.plan.kind
        return (
            f"{name:9} {self.committed} published, {self.stored} stored, {self.effects} effects "
            f"({self.effects_doubled} doubled), {self.dead_letters} dead letters, {self.killed} kills, "
            f"{self.kills['server stop']} freezes, {self.stalls} + {self.server_stalls} stalls, {self.seconds:.0f} s: "
            + ("; ".join(self.complaints) if self.complaints else "all promises kept")
        )


_EXTENSION, _MOST_EXTENSIONS = 10, 30
_PAUSE = 0.02
"""Seconds that each extension waits longer than the one before: who carries a fuse may still be starting."""


class Run:
    """Carries out a plan in ``directory``."""

    def __init__(self, plan: Plan, where: str, server: NatsServer, directory: Path) -> None:
        self.figures = Figures(plan)
        self._plan = plan
        self._place = Place(plan.kind, where)
        self._server = server
        self._log = directory / f"{plan.kind}.log"
        self._chance = random.Random(plan.seed)  # noqa: S311 - a plan repeats
        self._fuses = {
            "consumer": self._shuffled(CONSUMER_POINTS),
            "producer": self._shuffled(producer_points(plan.kind)),
        }
        self._children = Children()
        self._over = False
        self._extended = 0
        self._outages = 0
        self._server_away = False

    async def carry_out(self) -> Figures:
        """Run to the end; the figures carry the complaints."""
        began = time.monotonic()
        self._place.prepare()
        watched: list[asyncio.Task[None]] = []
        try:
            async with (
                await connect(self._server.url, service="mts1b-operations", connect_timeout=60) as bus,
                self._children,
            ):
                await apply_streams(bus)
                producers = [asyncio.create_task(self._keep_running("producer", number)) for number in (0, 1)]
                consumers = [
                    asyncio.create_task(self._keep_running("consumer", number))
                    for number in range(1 if self._plan.ordered else 2)
                ]
                havoc = asyncio.create_task(self._havoc())
                watched = [*producers, *consumers, havoc, asyncio.create_task(self._note_server_stalls(bus))]
                async with asyncio.timeout(self._plan.deadline):
                    await asyncio.gather(*producers)
                    await havoc
                    await self._drained(bus)
                self.figures.unburnt = self._unburnt()
                self._over = True
                await self._judge(bus)
        except TimeoutError:
            self.figures.complaints.append(f"not done after {self._plan.deadline:g} s; see {self._log}")
        finally:
            self._over = True
            for task in watched:
                task.cancel()
        self.figures.seconds = time.monotonic() - began
        return self.figures

    def _unburnt(self) -> list[str]:
        """The kill points that nobody has died at yet."""
        waiting = [fuse for fuses in self._fuses.values() for fuse in fuses]
        return waiting + [job["point"] for job in self._children.alive.values() if job["point"]]

    def _shuffled(self, points: tuple[str, ...]) -> deque[str]:
        fuses = list(points) * self._plan.rounds
        self._chance.shuffle(fuses)
        # A relay that stands by reaches no point of the relay, so these come while both producers are sure to die.
        return deque(sorted(fuses, key=lambda point: point not in RELAY_POINTS))

    # Children.

    async def _keep_running(self, role: str, number: int) -> None:
        """Have the child run, again after each kill, until it ends by itself or the run is over."""
        while not self._over:
            fuses = self._fuses[role]
            point = fuses.popleft() if fuses else ""
            code = await self._child(role, number, point)
            if self._over:
                return
            if code == 0:
                if point:
                    fuses.append(point)
                if not self._unburnt() or self._extended == _MOST_EXTENSIONS:
                    return
                # It came to the end before every fuse burnt (the other's relay, or one consumer, did all the work):
                # there is more to do.
                self._extended += 1
                await asyncio.sleep(self._extended * _PAUSE)
                continue
            if code == AGAIN:
                if point:
                    fuses.append(point)
                continue
            if code != -signal.SIGKILL:
                self.figures.complaints.append(f"{role} ended with {code}: {self._log.read_text()[-1000:]}")
                return
            self.figures.kills[point or "random"] += 1

    async def _child(self, role: str, number: int, point: str) -> int:
        job: dict[str, Any] = {
            "role": role,
            "producer": number,
            "kind": self._plan.kind,
            "where": self._place.where,
            "url": self._server.url,
            "events": self._plan.events + self._extended * _EXTENSION,
            "poison_every": self._plan.poison_every,
            "ordered": self._plan.ordered,
            "point": point,
            "at": 1 if self._extended else self._chance.randint(1, self._plan.at_most),
            "log": str(self._log),
        }
        return await self._children.run(job)

    # Havoc.

    async def _havoc(self) -> None:
        todo = ["server kill"] * self._plan.server_kills
        todo += ["server stop"] * self._plan.server_stops
        todo += ["random"] * self._plan.random_kills
        self._chance.shuffle(todo)
        for what in todo:
            await asyncio.sleep(self._chance.uniform(0.2, 1.0))
            if what == "server kill":
                with self._outage():
                    self._server.kill()
                    await asyncio.sleep(self._chance.uniform(0, 0.3))
                    await self._server.restart()
                self.figures.kills[what] += 1
            elif what == "server stop":
                with self._outage():
                    self._server.pause()
                    await asyncio.sleep(self._chance.uniform(0.5, 3.0))
                    self._server.resume()
                self.figures.kills[what] += 1
            elif self._children.alive:
                pid = self._chance.choice(sorted(self._children.alive))
                job = self._children.alive[pid]
                if self._children.kill(pid) and job["point"]:  # its fuse is still to burn: give it to the next
                    self._fuses[job["role"]].append(job["point"])
                    job["point"] = ""

    @contextmanager
    def _outage(self) -> Generator[None]:
        self._outages += 1
        self._server_away = True
        yield
        self._server_away = False

    async def _note_server_stalls(self, bus: EventBus) -> None:
        """Round trips that take long though the server is not meant to be away."""
        while True:
            began, outages, away = time.monotonic(), self._outages, self._server_away
            with suppress(BusError):
                await bus.flush()
            if time.monotonic() - began > STALL and outages == self._outages and not away:
                self.figures.server_stalls += 1
            await asyncio.sleep(0.02)

    async def _drained(self, bus: EventBus) -> None:
        """Wait until nothing is left to deliver or acknowledge and the fuses that can burn have burnt."""
        while True:
            await asyncio.sleep(0.1)
            burnt = not self._unburnt() or self._extended == _MOST_EXTENSIONS
            try:
                info = await js_api(bus, f"CONSUMER.INFO.OMS_ORDERS.{DURABLE}", timeout=2)
            except (JetStreamUnavailable, ApiError):
                continue
            if burnt and info["num_pending"] == 0 and info["num_ack_pending"] == 0:
                return

    # The judge.

    async def _judge(self, bus: EventBus) -> None:
        figures, say = self.figures, self.figures.complaints.append
        committed = self._place.committed()
        stored = [(await self._headers(bus, "OMS_ORDERS", seq)) for seq in range(1, await _last(bus, "OMS_ORDERS") + 1)]
        ids = [int(message["headers"]["Nats-Msg-Id"]) for message in stored]
        letters = [
            DeadLetter.model_validate_json(message["data"])
            for seq in range(1, await _last(bus, "DEADLETTERS") + 1)
            for message in [await self._headers(bus, "DEADLETTERS", seq)]
        ]
        effects = Counter(int(key) for key in self._place.effects())
        dead = Counter(json.loads(letter.payload)["idempotency_key"] for letter in letters)
        figures.committed, figures.stored = len(set(committed)), len(ids)
        figures.effects = effects.total()
        figures.effects_doubled = sum(count - 1 for count in effects.values())
        figures.dead_letters = len(letters)
        figures.stalls = self._place.stalls()
        if self._plan.ordered:
            at = {number: place for place, number in enumerate(ids)}
            for fund in range(FUNDS):
                mine = [at[int(key)] for key in self._place.effects() if int(key) % FUNDS == fund]
                if mine != sorted(mine):
                    say(f"the order of fund {fund} is not kept")
        if len(ids) != len(set(ids)):
            say(f"{len(ids) - len(set(ids))} events are stored twice")
        if lost := set(committed) - set(ids):
            say(f"{len(lost)} published events are not stored: {sorted(lost)[:5]}")
        if self._plan.kind in ("sqlite", "postgres") and (invented := set(ids) - set(committed)):
            say(f"{len(invented)} events are stored that never were committed: {sorted(invented)[:5]}")
        for producer in (0, 1):
            mine = [number for number in ids if number % 2 == producer]
            if mine != sorted(mine):
                say(f"the order of producer {producer} is not kept")
        if missing := set(committed) - set(effects) - {int(key) for key in dead}:
            say(f"{len(missing)} events have neither effect nor dead letter: {sorted(missing)[:5]}")
        if both := set(effects) & {int(key) for key in dead}:
            say(f"{len(both)} events have an effect and a dead letter: {sorted(both)[:5]}")
        if any(count > 1 for count in dead.values()):
            say("a dead letter is stored twice")
        poison = {n for n in committed if n % self._plan.poison_every == 0} if self._plan.poison_every else set[int]()
        if {int(key) for key in dead} != poison:
            say(f"{len(poison)} events deserve a dead letter, {len(dead)} have one")
        if self._plan.kind in ("sqlite", "postgres"):
            if figures.effects_doubled:
                say(f"{figures.effects_doubled} effects happened twice")
        elif self._plan.kind == "kv" and figures.effects_doubled > (
            figures.killed + 2 * figures.kills["server stop"] + figures.stalls + 2 * figures.server_stalls
        ):
            # Each death or freeze of the server or a consumer explains one repeated effect per consumer at most.
            say(f"{figures.effects_doubled} effects were repeated, more than the kills explain")

    async def _headers(self, bus: EventBus, stream: str, seq: int) -> dict[str, Any]:
        message = await bus.jetstream(timeout=60).get_msg(stream, seq)
        return {"headers": message.headers or {}, "data": message.data or b""}


async def _last(bus: EventBus, stream: str) -> int:
    return (await bus.jetstream(timeout=60).stream_info(stream)).state.last_seq
