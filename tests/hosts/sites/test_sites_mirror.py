"""A site and its mirror: the plug pulled, the mirror promoted by its page, the old site plugged in again."""

import asyncio
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cluster_load import DURABLE
from mts1b_deploy.mirrors.mirror import stream_infos
from mts1b_deploy.pki.store import Pki
from mts1b_deploy.record import record_of
from mts1b_deploy.streams import ADMIN, connect_as
from mts1b_deploy.supervise.processes import find_server_process
from mts1b_foundation.subjects import OMS_ORDERS_FILLED
from mts1b_platform.eventbus import BusError, connect
from site_pair import WITHOUT, Pair, Services, order, serves

pytestmark = pytest.mark.slow(seconds=40)

SILENCE = 22.0
"""Seconds after which the server has asked in vain once, and waits for 40 seconds until it asks again."""
PROMOTE = ("promote", "--reason", "site a lost its power", "--confirm", "b")


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """Nothing installed yet."""
    made = Pair(tmp_path)
    try:
        yield made
    finally:
        made.remove()


async def test_the_plug_pulled_in_mid_session(pair: Pair):
    await asyncio.to_thread(pair.install)
    a, b = pair.a, pair.b
    async with Services(a.layout.config) as services:
        copied = await services.emit(20)
        await services.has_read(copied)
        await asyncio.to_thread(b.deploy, "follow", "--once")
        refused = await asyncio.to_thread(b.deploy, *PROMOTE, code=1)
        assert "site a at" in refused.stderr
        assert "lives" in refused.stderr
        assert not serves(b)

        # What a stores while its mirror is away is what a loses.
        await asyncio.to_thread(b.deploy, "stop")
        only_at_a = await services.emit(20)
        await asyncio.to_thread(pair.pull_the_plug, a)
        await asyncio.to_thread(b.deploy, "start")

        conf = b.layout.nats_conf.read_bytes()
        shown = await asyncio.to_thread(b.deploy, "promote", "--dry-run")
        assert "what it stored since then is not here" in shown.stdout
        unsure = await asyncio.to_thread(b.deploy, "promote", "--reason", "x", code=1)
        assert "--confirm b" in unsure.stderr
        assert (b.layout.nats_conf.read_bytes(), serves(b)) == (conf, False)

        promoted = await asyncio.to_thread(b.json, *PROMOTE)
        assert {durable: start for _, durable, start in promoted["carried"]}[DURABLE] == len(copied) + 1
        after = await services.emit(20)  # they found it by themselves
        await services.has_read(after)
        # A producer that never heard its ack sends again, what was copied and what was not: each is stored once.
        async with await connect(config=b.layout.config, service="mts1b-oms") as bus:
            again = [await bus.emit(OMS_ORDERS_FILLED, order(key)) for key in (copied[0], only_at_a[0], only_at_a[0])]
        assert [bool(ack.duplicate) for ack in again] == [True, False, True]

        start = await asyncio.to_thread(a.deploy, "start", code=1)
        assert "site b serves" in start.stderr
        listed = await asyncio.to_thread(a.json, "mirror", code=1)
        ids = [OMS_ORDERS_FILLED.message_id(order(key)) for key in only_at_a]
        assert [each["msg_id"] for each in listed["lost"]] == ids
        assert [each["again"] for each in listed["lost"]] == [True] + [False] * 19
        assert written_in(listed["listed_in"]) == [services.acked[key] for key in only_at_a]
        assert (await asyncio.to_thread(a.json, "mirror", "--replace"))["done"]
        await services.has_read([only_at_a[0]])
    assert set(copied + after) <= set(services.read)
    assert all(len(set(seqs)) == 1 for key, seqs in services.read.items() if key not in only_at_a)

    # The old site is the mirror now, and keeps up; the doctor has nothing more to say of either.
    assert {each["code"] for each in json.loads(a.deploy("doctor", "--json", code=1).stdout)} == {"positions-old"}
    a.deploy("follow", "--once")
    assert [json.loads(each.deploy("doctor", "--json").stdout) for each in (a, b)] == [[], []]
    async with await connect_as(ADMIN, a.layout, record_of(a.layout)) as here:
        assert {info["mirror"]["external"]["api"] for info in (await stream_infos(here)).values()} == {"$JS.b.API"}

    # The other one is down for a while. Once it is back the mirror has at once what is stored there, and not minutes
    # later; it cannot be told to ask, so its server starts anew.
    mirror = find_server_process(a.layout)
    assert mirror is not None
    following = a.begin("follow")
    try:
        await asyncio.to_thread(b.deploy, "stop")
        await says(following, "site b is not connected")
        await asyncio.sleep(SILENCE)
        await asyncio.to_thread(b.deploy, "start")
        await says(following, "the server here starts anew")
        await until(lambda: not mirror.is_running() and a.deploy("doctor", code=None).returncode == 0)
    finally:
        following.terminate()
        await asyncio.to_thread(following.communicate)

    # It is promoted in its turn, while the other one hangs and then goes on: that one stores nothing any more.
    server = find_server_process(b.layout)
    assert server is not None
    server.suspend()
    await until(lambda: a.deploy("promote", "--dry-run", code=None).returncode == 0)
    assert (await asyncio.to_thread(a.json, "promote", "--reason", "b hangs", "--confirm", "a"))["done"]
    server.resume()
    assert "site b was back" in (await asyncio.to_thread(a.deploy, "follow", "--once")).stdout
    only_b = record_of(b.layout).url
    async with await connect(servers=only_b, config=b.layout.config, service="mts1b-oms") as bus:
        with pytest.raises(BusError):
            await bus.emit(OMS_ORDERS_FILLED, order("too-late"), deadline=2)
    assert "stores nothing" in (await asyncio.to_thread(a.deploy, "follow", "--once")).stdout
    assert b.json("mirror")["lost"] == []


async def says(process: subprocess.Popen[str], words: str) -> None:
    """Until a process has said this."""
    assert process.stdout is not None
    async with asyncio.timeout(120):
        while words not in (line := await asyncio.to_thread(process.stdout.readline)):
            assert line, f"it ended, and never said: {words}"


async def until(condition: Callable[[], bool]) -> None:
    """Ask again and again, on another thread."""
    async with asyncio.timeout(120):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110
            await asyncio.sleep(0.2)


def test_a_mirror_that_is_not_trusted_leaves_nothing_behind(pair: Pair, tmp_path: Path):
    a, b = pair.a, pair.b
    a.deploy("install", "--profile", "single", "--site", "a", "--sites", pair.sites, *WITHOUT)
    before = b.files()
    assert "--pki" in pair.mirror(code=2)
    foreign = Pki(tmp_path / "foreign")
    foreign.init()
    for name in ("site-b", "mts1b-deploy", *(each.name for each in Pki(a.layout.pki).current())):
        foreign.issue(name, hosts=["127.0.0.1", "b.site.mts1b.internal"] if name == "site-b" else ())
    said = pair.mirror("--pki", str(foreign.directory), code=1)
    assert "site a at tls://" in said
    assert "not to be trusted" in said
    assert b.files() == before
    assert not b.processes()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--sites", "a=10.0.0.1,b=10.0.0.2"), "--site NAME is missing"),
        (("--site", "c", "--sites", "a=10.0.0.1,b=10.0.0.2"), "--site c is not among --sites a, b"),
        (("--site", "a", "--sites", "a=10.0.0.1"), "a site and its mirror are two"),
        (("--site", "a", "--sites", "a=10.0.0.1,a=10.0.0.2"), "twice"),
        (("--site", "A b", "--sites", "a=10.0.0.1,b=10.0.0.2"), "names no site"),
        (("--site", "hub", "--edges", "hub=10.0.0.1"), "has the name of another site"),
        (("--site", "hub", "--edges", "gw1=10.0.0.1"), "listens on 127.0.0.1, where no other host reaches it"),
        (("--site", "a", "--hub", "hub=10.0.0.1"), "forwards to nobody"),
        (("--site", "a", "--sites", "a=10.0.0.1:7422:4000,b=10.0.0.2"), "--port"),
    ],
)
def test_sites_that_cannot_be_are_refused(pair: Pair, arguments: tuple[str, ...], words: str):
    before = pair.a.files()
    assert words in pair.a.deploy("install", "--profile", "single", *arguments, code=2).stderr
    assert pair.a.files() == before


def written_in(path: str) -> list[int]:
    """The sequences of the events in a list of what was lost."""
    return [json.loads(line)["seq"] for line in Path(path).read_text().splitlines()]
