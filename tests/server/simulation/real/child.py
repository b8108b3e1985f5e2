"""One process of a replay: plays a role, and tells its parent what it does, a JSON document a line."""

import asyncio
import json
import logging
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import aiosqlite
from mts1b_platform.eventbus import EventBus, connect

from simulation.plan import Plan
from simulation.record import Acked, Effect, Reader, Record
from simulation.workloads.orders import Orders


def tell(**what: Any) -> None:
    """Say it before anything else happens: the process may be killed at any moment."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


class TellingReader(Reader):
    """Tells each call that it gets."""

    name = ""

    def begin(self, process: str, order: int) -> None:
        tell(reader=self.name, call="begin", arguments=[process, order])

    def handled(self, effect: Effect) -> None:
        tell(reader=self.name, call="handled", arguments=[list(effect)])

    def failed(self, order: int) -> None:
        tell(reader=self.name, call="failed", arguments=[order])

    def leave(self, process: str, order: int) -> None:
        tell(reader=self.name, call="leave", arguments=[process, order])


class TellingRecord(Record):
    """Tells each call that it gets."""

    def emit_returned(self, order: int, acked: Acked) -> None:
        super().emit_returned(order, acked)
        tell(call="emit_returned", arguments=[order, list(acked)])

    def emitted_all(self) -> None:
        tell(call="emitted_all", arguments=[])


class RealStage:
    """A ``Stage`` beside a real server."""

    def __init__(self, plan: Plan, name: str, url: str, began: float) -> None:
        self.plan, self.name = plan, name
        self.record: Record = TellingRecord()
        self.rng = random.Random()  # noqa: S311 - the real world does not repeat
        self.stop: asyncio.Event | None = None
        self._url, self._began = url, began

    def time(self) -> float:
        return time.time() - self._began

    def block(self, seconds: float) -> None:
        time.sleep(seconds)

    def note(self, *what: object) -> None:
        tell(note=" ".join(map(str, what)))

    def connect_options(self) -> dict[str, Any]:
        return {"servers": self._url, "connect_timeout": 60}

    async def connect(self, service: str) -> EventBus:
        return await connect(service=service, **self.connect_options())

    async def open_database(self, path: Path) -> aiosqlite.Connection:
        return await aiosqlite.connect(path, isolation_level=None)

    def end(self) -> None:
        """SIGTERM has come."""
        if self.stop is not None:
            self.stop.set()


class Lines(logging.Handler):
    """Log lines, to the parent."""

    def emit(self, record: logging.LogRecord) -> None:
        tell(note=f"{record.levelname} {record.getMessage()[:300]}")


async def play(stage: RealStage, role: str) -> None:
    """Be one process."""
    workload = Orders(stage.plan, stage.record)
    for name, reader in stage.record.readers.items():
        telling = TellingReader(ordered=reader.ordered)
        telling.name = name
        stage.record.readers[name] = telling
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stage.end)
    try:
        await workload.roles[role](stage)
    except Exception as error:  # noqa: BLE001 - an oracle judges it
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]  # pyright: ignore[reportUnknownMemberType]
        tell(ended=[round(stage.time(), 3), stage.name, type(error).__name__, str(error)[:200]])


def main() -> None:
    """Arguments: role, name, URL, orders emitted so far. On standard input the plan, then, when it is to begin, when
    the replay began."""
    role, name, url, emitted = sys.argv[1:]
    logging.getLogger().handlers[:] = [Lines()]
    plan = Plan.from_json(sys.stdin.readline())
    tell(ready=True)
    stage = RealStage(plan, name, url, float(sys.stdin.readline()))
    stage.record.emitted = int(emitted)
    asyncio.run(play(stage, role))


if __name__ == "__main__":
    main()
