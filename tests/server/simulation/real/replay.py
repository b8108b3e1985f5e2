"""Carrying out a plan beside a real nats-server, as far as its faults can be had there."""

import asyncio
import json
import signal
import sys
import tempfile
import time
from base64 import b64decode
from collections import Counter
from pathlib import Path
from typing import Any, Final

from mts1b_foundation.subjects import OMS_ORDERS_CREATED
from mts1b_platform.eventbus import EventBus, apply_streams, connect
from mts1b_platform.eventbus.errors import BusError
from mts1b_platform.eventbus.jetstream.api import js_api
from mts1b_platform.server import NatsServer

from simulation.evidence import Evidence, dead_letters, order_of
from simulation.oracles import judge
from simulation.plan import MODES, Fault, Plan
from simulation.record import Acked, Effect, Ended, Record
from simulation.workloads.orders import Orders

POSSIBLE: Final = frozenset({"kill", "graceful", "freeze", "kill_server", "freeze_server"})
"""Faults that are the same here; a replay leaves out the others and says so."""
_TESTS: Final = Path(__file__).parents[2]
_QUIET_WITHIN: Final = 60.0
_RESTART: Final = 0.5


class Replay:
    """One run."""

    def __init__(self, plan: Plan, server: NatsServer) -> None:
        self.plan, self.server = plan, server
        self.record = Record()
        self.workload = Orders(plan, self.record)
        self.began = time.time()
        self.notes: list[str] = []
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._ready: dict[str, asyncio.Event] = {}
        self._names: dict[str, str] = {}
        self._generations: Counter[str] = Counter()
        self._not_before: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def carry_out(self, admin: EventBus) -> Evidence:
        """Run it, and collect what there is to judge."""
        for role in self.workload.roles:
            await self._start(role)
        await asyncio.gather(*(ready.wait() for ready in self._ready.values()))
        self.began = time.time()
        for role in self.workload.roles:
            self._go(role)
        faults = [asyncio.create_task(self._inject(fault)) for fault in self.plan.faults if fault.kind in POSSIBLE]
        work = self.plan.events * (self.plan.work + self.plan.block + self.plan.pace)
        end = self.plan.last_fault + 4 * work + _QUIET_WITHIN
        unsettled: dict[str, str] = {}
        while self._time() < end:
            await asyncio.sleep(_RESTART)
            await self._supervise()
            if self.record.all_emitted and all(fault.done() for fault in faults):
                unsettled = await self._unsettled(admin)
                if not unsettled:
                    break
        await asyncio.sleep(2 * self.plan.ack_wait)
        for fault in faults:
            fault.cancel()
        for process in self._processes.values():
            if process.returncode is None:
                process.kill()
                await process.wait()
        return await self._evidence(admin, unsettled)

    def _time(self) -> float:
        return time.time() - self.began

    async def _start(self, role: str) -> None:
        self._generations[role] += 1
        name = self._names[role] = f"{role}#{self._generations[role]}"
        process = self._processes[role] = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "simulation.real.child", role, name, self.server.url, str(self.record.emitted)),
            cwd=_TESTS,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None
        process.stdin.write(self.plan.to_json().encode() + b"\n")
        self._ready[name] = asyncio.Event()
        task = asyncio.create_task(self._hear(process, name))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _go(self, role: str) -> None:
        process = self._processes[role]
        assert process.stdin is not None
        process.stdin.write(f"{self.began}\n".encode())
        process.stdin.close()

    async def _hear(self, process: asyncio.subprocess.Process, name: str) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            told: dict[str, Any] = json.loads(line)
            if "call" in told:
                self._take(told)
            elif "ready" in told:
                self._ready[name].set()
            elif "ended" in told:
                self.record.ended.append(Ended(*told["ended"]))
            self.notes.append(f"{self._time():.3f} {name} {line.decode().strip()[:200]}")
        for reader in self.record.readers.values():
            reader.killed(name)  # what it was still handling when it was gone

    def _take(self, told: dict[str, Any]) -> None:
        arguments = told["arguments"]
        if told["call"] == "handled":
            arguments = [Effect(*arguments[0])]
        elif told["call"] == "emit_returned":
            arguments = [arguments[0], Acked(*arguments[1])]
        target = self.record.readers[told["reader"]] if "reader" in told else self.record
        getattr(target, told["call"])(*arguments)

    async def _supervise(self) -> None:
        for role, process in list(self._processes.items()):
            over = role == "oms" and self.record.all_emitted
            if process.returncode is not None and not over and self._time() >= self._not_before.get(role, 0.0):
                await self._start(role)
                self._go(role)

    async def _inject(self, fault: Fault) -> None:
        await asyncio.sleep(max(0.0, fault.at - self._time()))
        self.notes.append(f"{self._time():.3f} - fault {fault.kind} {fault.who}")
        process = self._processes.get(fault.who)
        alive = process is not None and process.returncode is None
        if fault.kind == "kill_server":
            self.server.kill()
            await asyncio.sleep(0.2 + 3 * fault.x)
            await self.server.start()
        elif fault.kind == "freeze_server":
            self.server.pause()
            await asyncio.sleep(0.2 + 6 * fault.x)
            self.server.resume()
        elif process is not None and alive and fault.kind == "kill":
            process.kill()
            self._not_before[fault.who] = self._time() + 3 * fault.x
        elif process is not None and alive and fault.kind == "graceful":
            process.terminate()
        elif process is not None and alive:
            process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(0.5 + 10 * fault.x)
            process.send_signal(signal.SIGCONT)

    async def _unsettled(self, admin: EventBus) -> dict[str, str]:
        found: dict[str, str] = {}
        for durable in self.record.readers:
            try:
                info = await js_api(admin, f"CONSUMER.INFO.OMS_ORDERS.{durable}")
            except BusError as error:
                found[durable] = str(error)
            else:
                if info["num_pending"] or info["num_ack_pending"]:
                    found[durable] = f"{info['ack_floor']}, {info['num_ack_pending']} pending"
        return found

    async def _evidence(self, admin: EventBus, unsettled: dict[str, str]) -> Evidence:
        orders = await _messages(admin, "OMS_ORDERS")
        letters = await _messages(admin, "DEADLETTERS")
        return Evidence(
            self.plan,
            self.record,
            not unsettled,
            {order_of(data): seq for seq, data in orders},
            len(orders),
            dead_letters(self.record.readers, [data for _, data in letters]),
            unsettled,
            [],
            [],
            [],
            self.workload.drain_budget,
        )


async def _messages(admin: EventBus, stream: str) -> list[tuple[int, bytes]]:
    state = (await js_api(admin, f"STREAM.INFO.{stream}"))["state"]
    found: list[tuple[int, bytes]] = []
    for seq in range(max(1, state["first_seq"]), state["last_seq"] + 1):
        message = (await js_api(admin, f"STREAM.MSG.GET.{stream}", {"seq": seq}))["message"]
        found.append((seq, b64decode(message.get("data", ""))))
    return found


async def _replay(plan: Plan) -> int:
    with tempfile.TemporaryDirectory(prefix="mts1b-replay-") as directory:
        async with NatsServer(Path(directory)) as server:
            admin = await connect(server.url, service="mts1b-operations", connect_timeout=60)
            await apply_streams(admin)
            run = Replay(plan, server)
            evidence = await run.carry_out(admin)
            await admin.close()
    violations = judge(evidence)
    print("\n".join(run.notes[-60:]))
    for violation in violations:
        print(f"violated: {violation.oracle}: {violation.facts}")
    print(f"{len(violations)} violations; {OMS_ORDERS_CREATED.pattern}: {len(evidence.record.acked)} events")
    return bool(violations)


def replay(plan: Plan) -> int:
    """Carry out ``plan`` beside a real server; the exit code, 1 when a promise was broken."""
    if plan.workload != "orders":
        print(f"the workload {plan.workload} runs in the simulation only")
        return 2
    if left_out := sorted(kind for kind in plan.kinds if kind not in POSSIBLE | MODES):
        print(f"left out, as they cannot be had here: {', '.join(left_out)}")
    return asyncio.run(_replay(plan))
