"""A hub and its edges: stored at the edge while the line is cut, then at the hub, each event once and in order."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mts1b_deploy.mirrors.mirror import stream_infos
from mts1b_deploy.mirrors.sources import events_that_pass
from mts1b_deploy.pki.store import Pki
from mts1b_deploy.record import record_of
from mts1b_deploy.streams import ADMIN, connect_as
from mts1b_deploy.testing import Machine
from mts1b_foundation.subjects import OMS_ORDERS_FILLED
from mts1b_platform.eventbus import EventBus, connect
from mts1b_platform.eventbus.history.direct_get import DirectGet
from mts1b_platform.eventbus.protocol.envelope_reader import read_ids
from mts1b_platform.testing.ports import free_ports
from site_pair import WITHOUT, order

pytestmark = pytest.mark.slow(seconds=40)

STREAM = "OMS_ORDERS"
SOON = 5.0
"""Seconds in which the server by itself sometimes asks again."""


class Star:
    """A hub, two edges, and a line from each that can be cut or swallow what passes."""

    def __init__(self, root: Path) -> None:
        self.hub, self.gw1, self.gw2 = (Machine(root / name) for name in ("hub", "gw1", "gw2"))

    def install(self, leaf_ports: dict[str, int], leaf_port: int) -> None:
        """As docs/sites.md says; each edge dials the line that was made for it."""
        edges = "gw1=127.0.0.2,gw2=127.0.0.3"
        hub = ("--site", "hub", "--edges", edges, "--leaf-port", str(leaf_port))
        self.hub.deploy("install", "--profile", "single", *hub, *WITHOUT)
        for name, machine in (("gw1", self.gw1), ("gw2", self.gw2)):
            place = ("--site", name, "--hub", f"hub=127.0.0.1:{leaf_ports[name]}", "--pki", str(self.hub.layout.pki))
            machine.deploy("install", "--profile", "edge", *place, *WITHOUT)

    def remove(self) -> None:
        """End every process."""
        for machine in (self.hub, self.gw1, self.gw2):
            machine.clean_up()


class Line:
    """A port that leads to another one until it is cut."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._writers: set[asyncio.StreamWriter] = set()
        self._passes = asyncio.Event()
        self._passes.set()
        self._whole = True
        self.port = 0

    async def open(self) -> None:
        """Listen."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """End what passes, and let nothing pass."""
        self._whole = False
        for writer in self._writers:
            writer.transport.abort()

    def swallow(self) -> None:
        """Let nothing pass, and tell nobody."""
        self._passes.clear()

    def mend(self) -> None:
        """End either."""
        self._whole = True
        self._passes.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._whole:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers |= {writer, far_writer}
        await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                await self._passes.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        writer.close()


@pytest.fixture
def star(tmp_path: Path) -> Iterator[Star]:
    """Nothing installed yet."""
    made = Star(tmp_path)
    try:
        yield made
    finally:
        made.remove()


async def test_a_line_that_is_cut_loses_nothing_and_equal_ids_stay_apart(star: Star):
    (leaf_port,) = free_ports(1)
    lines = {name: Line(leaf_port) for name in ("gw1", "gw2")}
    for line in lines.values():
        await line.open()
    await asyncio.to_thread(star.install, {name: line.port for name, line in lines.items()}, leaf_port)
    async with oms(star.gw1) as one, oms(star.gw2) as two, oms(star.hub) as here:
        for bus in (one, two, here):  # the same id at every place
            assert not (await bus.emit(OMS_ORDERS_FILLED, order("same"))).duplicate
        await until(lambda: at_hub(star, 3))
        follow = star.hub.begin("follow")
        try:
            lines["gw1"].cut()
            lines["gw2"].swallow()
            for number in range(20):
                for bus in (one, two):
                    await bus.emit(OMS_ORDERS_FILLED, order(f"cut-{number}"))
            await here.emit(OMS_ORDERS_FILLED, order("no line"))
            await until(lambda: at_hub(star, 4))
            await asyncio.sleep(16)  # the silence that counts as one; the server's pauses grow meanwhile
            found = await asyncio.to_thread(star.hub.deploy, "doctor", "--json", code=1)
            assert {"edge-away", "source-silent"} <= {each["code"] for each in json.loads(found.stdout)}
            for line in lines.values():
                line.mend()
            began = asyncio.get_running_loop().time()
            await until(lambda: at_hub(star, 44))
            took = asyncio.get_running_loop().time() - began
            await until(lambda: nothing_is_wrong(star))  # the other streams are asked one after the other
        finally:
            follow.terminate()
            said, _ = await asyncio.to_thread(follow.communicate)
        print(f"\nfirst event {took:.1f} s after the line was whole")
        assert took < SOON or f"is back: stream {STREAM} asks it again" in said
    ids = [each async for each in ids_at(star.hub)]
    assert len(ids) == len(set(ids)) == 44
    for edge in ("gw1", "gw2"):
        in_order = [f"{edge}:{OMS_ORDERS_FILLED.message_id(order(f'cut-{number}'))}" for number in range(20)]
        assert [each for each in ids if each.startswith(f"{edge}:") and "cut" in each] == in_order
    await an_id_without_the_edge_is_named(star)
    await events_that_pass_as_themselves_are_named(star)


async def an_id_without_the_edge_is_named(star: Star) -> None:
    """A publisher at an edge that has settings of its own, without the name of the edge."""
    settings = star.gw1.layout.config
    own = settings.with_name("own.toml")
    own.write_text("".join(line for line in settings.read_text().splitlines(True) if not line.startswith("edge =")))
    async with await connect(config=own, service="mts1b-oms", connect_timeout=20) as bus:
        await bus.emit(OMS_ORDERS_FILLED, order("anonymous"))
    (found,) = [each for each in await asyncio.to_thread(deviations, star.gw1) if each["code"] == "ids-without-edge"]
    assert f"{OMS_ORDERS_FILLED.message_id(order('anonymous'))!r}, without this edge's name" in found["what"]
    assert 'edge = "gw1"' in found["remedy"]


async def events_that_pass_as_themselves_are_named(star: Star) -> None:
    """The rights of edges at the hub are edited: the hub hears what is published there, beside copying it."""
    conf = star.hub.layout.nats_conf
    before = conf.read_text()
    conf.write_text(before.replace('"$JSC.R.>", "$JS.S.>"', '"$JSC.R.>", "$JS.S.>", "mts.>"'))
    await asyncio.to_thread(star.hub.deploy, "restart")
    (drift,) = [each for each in await asyncio.to_thread(deviations, star.hub) if each["code"] == "permission-drift"]
    assert "mts.>" in drift["what"]

    async def pass_them() -> bool:
        return bool(await asyncio.to_thread(events_that_pass, record_of(star.gw1.layout)))

    await until(pass_them)
    (found,) = [each for each in await asyncio.to_thread(deviations, star.gw1) if each["code"] == "events-pass"]
    assert "mts.v1.oms.orders.*" in found["what"]
    assert "stored twice" in found["what"]
    assert "at the hub" in found["remedy"]


def deviations(machine: Machine) -> list[dict[str, str]]:
    """What the doctor finds."""
    return json.loads(machine.deploy("doctor", "--json", code=None).stdout)


def test_a_hub_that_is_not_trusted_is_refused_and_nothing_is_left(star: Star, tmp_path: Path):
    (leaf_port,) = free_ports(1)
    edges = ("--site", "hub", "--edges", "gw1=127.0.0.2", "--leaf-port", str(leaf_port))
    star.hub.deploy("install", "--profile", "single", *edges, *WITHOUT)
    foreign = Pki(tmp_path / "foreign")
    foreign.init()
    for each in Pki(star.hub.layout.pki).current():
        foreign.issue(each.name, hosts=each.hosts)
    before = star.gw1.files()
    edge = ("install", "--profile", "edge", "--site", "gw1", *WITHOUT, "--pki", str(foreign.directory))
    refused = star.gw1.deploy(*edge, "--hub", f"hub=127.0.0.1:{leaf_port}", code=1)
    assert f"no connection to site hub at 127.0.0.1:{leaf_port}" in refused.stderr
    assert "signed by another authority" in refused.stderr
    assert star.gw1.files() == before
    assert not star.gw1.processes()


@asynccontextmanager
async def oms(machine: Machine) -> AsyncGenerator[EventBus]:
    async with await connect(config=machine.layout.config, service="mts1b-oms", connect_timeout=20) as bus:
        yield bus


async def at_hub(star: Star, count: int) -> bool:
    """Whether the hub holds so many orders."""
    return (await orders(star.hub))["state"]["messages"] >= count


async def nothing_is_wrong(star: Star) -> bool:
    """Whether the hub's doctor finds nothing."""
    return (await asyncio.to_thread(star.hub.deploy, "doctor", "--json", code=None)).returncode == 0


async def orders(machine: Machine) -> dict[str, Any]:
    async with await connect_as(ADMIN, machine.layout, record_of(machine.layout)) as bus:
        return (await stream_infos(bus))[STREAM]


async def ids_at(machine: Machine) -> AsyncIterator[str]:
    """The message ids in the order in which the events are stored."""
    async with await connect_as(ADMIN, machine.layout, record_of(machine.layout)) as bus:
        async for batch in DirectGet(bus, STREAM, f"$JS.API.DIRECT.GET.{STREAM}").batches(1, 1_000, ">"):
            for each in batch:
                yield read_ids(each.wire.head).msg_id


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(120):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.2)
