"""A soak from beginning to end: buses that work, faults, looks at the books in between, and the judgement."""

import asyncio
import random
import time
from itertools import count
from pathlib import Path
from typing import Final

import psutil
from soak_faults import BACK_WITHIN, HARMLESS, Faults
from soak_leaks import Held, Listening, held
from soak_load import Load
from soak_nodes import ORDERED, PATIENCE, PLAIN, Nodes
from soak_report import Figures
from soak_stream import read_stream

_CALM: Final = 2.0
_FLOW: Final = 24
"""Orders that are seen through after each fault."""
_BETWEEN_LOOKS: Final = 4
"""Faults."""


class Soak:
    """One run.

    Args:
        directory: where servers and certificates live.
        seconds: how long faults go on.
        seed: of the order of faults and of what is hit; timing is never repeated exactly.
        warm_up: faults, and orders, after which memory grows no more.
    """

    def __init__(self, directory: Path, *, seconds: float, seed: int, warm_up: tuple[int, int]) -> None:
        self._directory = directory
        self._seconds = seconds
        self._chance = random.Random(seed)  # noqa: S311 - repeats a plan
        self._warm_up = warm_up
        self._warm: Held | None = None
        self._figures = Figures()

    async def carry_out(self) -> Figures:
        """Run it; what went wrong is among the figures."""
        began, figures = time.monotonic(), self._figures
        said = Listening()
        said.attach()
        try:
            async with Nodes(self._directory) as nodes:
                await self._with(nodes)
        except Exception as error:  # noqa: BLE001 - the figures so far are worth having
            self._complain(f"ended early by {type(error).__name__}: {error}")
        finally:
            said.detach()
        figures.seconds = time.monotonic() - began
        figures.warnings = said.warnings
        if refusals := said.warnings["the server refuses"]:
            self._complain(f"the server refused {refusals} times what must be allowed")
        figures.complaints += [f"logged as an error: {each}" for each in said.errors]
        return figures

    async def _with(self, nodes: Nodes) -> None:
        tasks, files = len(asyncio.all_tasks()), psutil.Process().num_fds()
        load = Load(self._directory, nodes, self._chance, 3 * self._seconds + 600)
        try:
            await load.begin()
            await self._go_wrong(nodes, load)
            await self._judge(nodes, load)
        finally:
            await load.end()
        left = len(asyncio.all_tasks()) - tasks, psutil.Process().num_fds() - files
        if max(left) > 0:
            self._complain(f"{left[0]} tasks and {left[1]} files are left at the end: {asyncio.all_tasks()}")

    # Faults.

    async def _go_wrong(self, nodes: Nodes, load: Load) -> None:
        faults = Faults(nodes, load.clients, self._chance)
        await load.orders.flow(_FLOW, PATIENCE)
        await self._look(nodes, load)
        faults_first, orders_first = self._warm_up
        end, deck = time.monotonic() + self._seconds, list[str]()
        for number in count(1):
            deck = deck or self._chance.sample(list(faults.kinds), len(faults.kinds))
            await self._one(nodes, load, faults, deck.pop())
            over = time.monotonic() > end
            if number % _BETWEEN_LOOKS == 0 or over:
                found = await self._look(nodes, load)
                if self._warm is None and number >= faults_first and load.orders.total >= orders_first:
                    self._warm = found
            if over:
                return
            await asyncio.sleep(_CALM)

    async def _one(self, nodes: Nodes, load: Load, faults: Faults, kind: str) -> None:
        times = load.clients.begin(kind)
        breaks, first_quote = times.breaks, load.feed.number + 1
        print(f"{kind} …", end="", flush=True)
        await faults.kinds[kind]()
        ended = time.monotonic()
        await load.clients.all_back(BACK_WITHIN)
        await load.orders.flow(_FLOW, PATIENCE)
        times.flows.append(time.monotonic() - ended)
        await nodes.healthy()
        if kind in HARMLESS and times.breaks == breaks:
            self._complain(*await load.feed.all_arrive(load.ears, first_quote, load.feed.number, PATIENCE, kind))
        load.check()
        print(f" {time.monotonic() - ended:.1f} s", flush=True)

    # The judgement.

    async def _look(self, nodes: Nodes, load: Load) -> Held:
        """Hold the load, and see that nothing is missing, nothing uncounted, nothing kept."""
        await load.hold()
        self._complain(*await load.faults_of_books())
        first = self._figures.looks[0] if self._figures.looks else None
        found = await held(nodes, first)
        self._figures.looks.append(found)
        print(f"    {found.line()}", flush=True)
        if first is not None and not found.holds_no_more_than(first):
            self._complain(f"at first {first.line()} {first.connections}", f"now {found.line()} {found.connections}")
        load.go_on()
        return found

    async def _judge(self, nodes: Nodes, load: Load) -> None:
        await load.hold()
        figures, orders = self._figures, load.orders
        stored = await read_stream(nodes)
        self._complain(*orders.judge_stream(stored), *load.complaints())
        if self._warm is not None:
            self._complain(*figures.looks[-1].grown_since(self._warm))
        else:
            print("memory was not judged: the soak was over before it was warm", flush=True)
        figures.times, figures.reconnects = load.clients.times, load.clients.reconnects
        figures.orders = {
            "published": orders.total,
            "stored": len(stored),
            "handled": orders.handled[PLAIN],
            "repeated": orders.repeated[PLAIN],
            "handled in order": orders.handled[ORDERED],
            "repeated in order": orders.repeated[ORDERED],
            "delivered again and recognised": load.clients.deduplicated,
            "uncertain": orders.uncertain,
            "overtaken": orders.overtaken(stored),
            "longest without an ack": orders.longest_gap,
        }
        figures.quotes, figures.questions = load.quotes(), load.questions.outcomes

    def _complain(self, *complaints: str) -> None:
        self._figures.complaints += complaints
        for complaint in complaints:
            print(f"!!! {complaint}", flush=True)
