"""What only the bus can tell: streams, copies, durables, and what the other nodes say."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable
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
_AGAIN = 2.0
"""Seconds between two looks at who is active: while one instance takes over from another nobody is."""
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
    """Whether every declared durable is there, as declared: services of a locked-down bus cannot make theirs."""
    from mts1b_platform.eventbus.declared import declared
    from mts1b_platform.eventbus.jetstream.apply_consumers import plan_consumers

    for change in await plan_consumers(bus, declared(record.checkouts).consumers):
        if change.action == "created":
            yield Deviation(
                "durable-missing",
                f"durable {change.durable} of {change.service} is not on stream {change.stream}: it cannot read",
                "`mts1b-deploy install` makes it",
            )
        elif change.action == "updated":
            yield Deviation(
                "durable-drift",
                f"durable {change.durable} of {change.service} on stream {change.stream} is not as it is declared: its "
                "ack wait, or how many instances may read it",
                "`mts1b streams apply`; where the number of instances changes, while nobody reads it",
            )


async def check_instances(bus: "EventBus", record: InstallRecord) -> AsyncIterator[Deviation]:
    """Whether somebody is handed what waits for each declared durable that several instances read.

    One that nobody has ever read is of a service that does not run here.
    """
    from mts1b_platform.eventbus.declared import declared

    wanted = {(each.stream, each.durable) for each in declared(record.checkouts).consumers}
    waits = await _without_an_instance(bus, wanted)
    if waits:
        await asyncio.sleep(_AGAIN)
        waits = await _without_an_instance(bus, waits)
    for (stream, durable), info in sorted(waits.items()):
        yield Deviation(
            "nobody-active",
            f"durable {durable} on stream {stream}: no instance is handed its messages, waiting: "
            f"{info['num_pending'] + info['num_ack_pending']}",
            f"`mts1b groups show {stream} {durable}` names who was last, and "
            + ("the logs of those that stand by say why none takes over" if info["num_waiting"] else "start one"),
        )


async def _without_an_instance(
    bus: "EventBus", durables: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], dict[str, Any]]:
    """Those of the pinned ``durables``, read before, that hand out nothing of what waits, as the server says."""
    from mts1b_platform.eventbus.jetstream.api import ApiError, js_api
    from mts1b_platform.eventbus.protocol.pins import is_pinned, pinned_client

    found: dict[tuple[str, str], dict[str, Any]] = {}
    for stream, durable in durables:
        try:
            info = await js_api(bus, f"CONSUMER.INFO.{stream}.{durable}")
        except ApiError:  # it is not there, which another check names
            continue
        waits = info["delivered"]["consumer_seq"] and info["num_pending"] + info["num_ack_pending"]
        if is_pinned(info["config"]) and waits and not info.get("paused") and not pinned_client(info):
            found[stream, durable] = info
    return found


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
