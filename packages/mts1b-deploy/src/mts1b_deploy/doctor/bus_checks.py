"""What only the bus can tell: streams, copies, durables, and what the other nodes say."""

import json
import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mts1b_deploy.doctor.deviation import Deviation
from mts1b_deploy.doctor.server_checks import Ping
from mts1b_deploy.layout import Layout
from mts1b_deploy.permissions import SYSTEM
from mts1b_deploy.profiles import profile_named
from mts1b_deploy.record import InstallRecord
from mts1b_deploy.streams import connect_as

if TYPE_CHECKING:
    from mts1b_platform.eventbus import EventBus

_PATIENCE = 2.0
"""Seconds that the nodes may take to answer one ping."""
_PINGS = 4
"""Pings at most, when a node has not answered or its answer took too long to tell its clock from ours."""


async def check_streams(bus: "EventBus", record: InstallRecord) -> AsyncIterator[Deviation]:
    """Whether every stream is there, as defined, with all of its copies in step."""
    from mts1b_platform.eventbus import plan_streams
    from mts1b_platform.eventbus.declared import declared
    from mts1b_platform.eventbus.jetstream.api import js_api

    for change in await plan_streams(
        bus, profile=profile_named(record.profile).name, streams=declared(record.checkouts).streams
    ):
        if change.action == "created":
            yield Deviation(
                "stream-missing",
                f"stream {change.stream} is not there: its subjects are refused or lost",
                "`mts1b-deploy install` makes it",
            )
            continue
        for field in change.fields:
            yield Deviation(
                "replicas" if field.name == "num_replicas" else "stream-drift",
                f"stream {change.stream}: {field.name} is {field.held!r}, defined is {field.wanted!r}",
                "`mts1b streams plan` explains it, `mts1b-deploy install` applies it",
            )
        cluster: dict[str, Any] = (await js_api(bus, f"STREAM.INFO.{change.stream}")).get("cluster") or {}
        for copy in cluster.get("replicas") or ():
            if copy.get("offline") or not copy.get("current"):
                state = "away" if copy.get("offline") else f"{copy.get('lag', 0)} operations behind"
                yield Deviation(
                    "replicas",
                    f"stream {change.stream}: the copy on {copy['name']} is {state}",
                    "bring the node back, or wait until it has caught up",
                )


async def check_durables(bus: "EventBus", record: InstallRecord) -> AsyncIterator[Deviation]:
    """Whether every declared durable is there: services of a locked-down bus cannot make theirs."""
    from mts1b_platform.eventbus.declared import declared
    from mts1b_platform.eventbus.jetstream.durables import durable_exists

    for wanted in declared(record.checkouts).consumers:
        if not await durable_exists(bus, wanted.stream, wanted.durable):
            yield Deviation(
                "durable-missing",
                f"durable {wanted.durable} of {wanted.service} is not on stream {wanted.stream}: it cannot read",
                "`mts1b-deploy install` makes it",
            )


async def ping_all(layout: Layout, record: InstallRecord, clock: Callable[[], float]) -> list[Ping]:
    """Ask every server of the cluster for version and time, through the system account.

    Of several answers of a node the one with the shortest round trip counts: its time is the most certain.
    """
    best: dict[str, Ping] = {}
    nodes = max(1, len(record.nodes))
    async with await connect_as(SYSTEM, layout, record) as bus:
        inbox = bus.new_inbox()
        answers = await bus.subscribe(f"{inbox}.*")
        asked: dict[str, float] = {}
        while len(asked) < _PINGS and (len(best) < nodes or any(ping.unsure for ping in best.values())):
            reply = f"{inbox}.{len(asked)}"
            asked[reply] = clock()
            await bus.publish("$SYS.REQ.SERVER.PING", b"", reply=reply)
            heard, until = set[str](), time.monotonic() + _PATIENCE
            while len(heard) < nodes and (left := until - time.monotonic()) > 0:
                try:
                    message = await answers.next_msg(timeout=left)
                except TimeoutError:
                    break
                server, now = json.loads(message.data)["server"], clock()
                sent = asked[message.subject]  # it may be a late answer to an earlier one
                ahead = datetime.fromisoformat(server["time"]).timestamp() - (sent + now) / 2
                ping = Ping(server["name"], server["ver"], ahead, now - sent)
                if ping.node not in best or ping.trip < best[ping.node].trip:
                    best[ping.node] = ping
                if message.subject == reply:
                    heard.add(ping.node)
    return list(best.values())
