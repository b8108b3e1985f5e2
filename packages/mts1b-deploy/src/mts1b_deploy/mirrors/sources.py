"""The streams of a hub: each copies what its edges store under the same name, beside what is published here.

An edge's event comes here once, by copying: what may pass the connection (:mod:`mts1b_deploy.leaf.connection`) lets no
event through as itself. It keeps its message id, and the stream drops an id that it knows, so ids of edges begin with
the name of the edge (setting ``edge``).
"""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Final

from mts1b_foundation.subjects.algebra import overlaps
from mts1b_platform.server.probe import read_monitor

from mts1b_deploy.errors import SiteError
from mts1b_deploy.layout import Layout
from mts1b_deploy.profiles import LOOPBACK
from mts1b_deploy.record import InstallRecord, places
from mts1b_deploy.streams import AppliedStream, connect_as_admin

if TYPE_CHECKING:
    from mts1b_platform.eventbus import EventBus

NOT_FORWARDED: Final = frozenset({"OPERATIONS_PROBES"})
"""Streams that mean something at their own site only."""
_EVENTS: Final = "mts.>"


async def apply_sources(layout: Layout, record: InstallRecord) -> list[AppliedStream]:
    """Let every declared stream copy from every edge, and from none that is an edge no longer.

    Raises:
        SiteError: events pass the connection as themselves, and would be stored twice.
    """
    from mts1b_platform.eventbus.declared import declared
    from mts1b_platform.eventbus.jetstream.api import js_api
    from mts1b_platform.eventbus.jetstream.apply_streams import stream_config

    edges = [each.name for each in places(record.edges)]
    if passing := events_that_pass(record):
        raise SiteError(
            f"{', '.join(passing)} pass between this site and an edge as themselves: they would be stored twice, as "
            "published and as copied. The rights of edges in nats.conf were edited: `mts1b-deploy install --overwrite`"
        )
    done: list[AppliedStream] = []
    async with await connect_as_admin(layout, record) as bus:
        for definition in declared(record.checkouts).streams:
            held = await stream_config(bus, definition.name)
            if held is None or definition.name in NOT_FORWARDED:
                continue
            sources = sources_of(held, edges)
            if _names(sources) == _names(held.get("sources") or ()):
                continue
            await js_api(bus, f"STREAM.UPDATE.{definition.name}", held | {"sources": sources}, timeout=10)
            done.append(AppliedStream(f"{definition.name} copies from {', '.join(edges) or 'no edge'}", "updated"))
    return done


def sources_of(config: Mapping[str, Any], edges: Collection[str]) -> list[dict[str, Any]]:
    """The sources that a stream is to have: one for each edge, and those that are none of an edge."""
    held: list[dict[str, Any]] = config.get("sources") or []
    others = [each for each in held if site_of(each) is None]
    kept = {site_of(each): each for each in held}
    name = config["name"]
    return [*others, *(kept.get(edge) or {"name": name, "external": {"api": f"$JS.{edge}.API"}} for edge in edges)]


def site_of(source: Mapping[str, Any]) -> str | None:
    """The site that a source copies from; None for a stream of this one."""
    external: dict[str, str] = source.get("external") or {}
    return external["api"].split(".")[1] if external.get("api") else None


def _names(sources: Collection[Mapping[str, Any]]) -> set[tuple[str, str | None]]:
    return {(each["name"], site_of(each)) for each in sources}


def events_that_pass(record: InstallRecord) -> list[str]:
    """Subjects of events that a connection between sites lets through, which should be none."""
    page = read_monitor(LOOPBACK, record.monitor_port, "/leafz?subs=1") or {}
    found: set[str] = set()
    for leaf in page.get("leafs") or ():
        subjects: list[str] = leaf.get("subscriptions_list") or []
        found |= {each for each in subjects if each.startswith("mts.") and overlaps(each, _EVENTS)}
    return sorted(found)


async def wake(bus: "EventBus", info: Mapping[str, Any], silent: Collection[str]) -> None:
    """Let a stream ask again at once for what the edges ``silent`` have.

    After a cut the server waits up to two minutes before it asks again, and is not told that the edge is back. Nothing
    but taking the source away and giving it back makes it ask. It goes on behind what it has.
    """
    from mts1b_platform.eventbus.jetstream.api import js_api

    config: dict[str, Any] = info["config"]
    rest = [each for each in config["sources"] if site_of(each) not in silent]
    without = {name: value for name, value in config.items() if name != "sources"} | ({"sources": rest} if rest else {})
    await js_api(bus, f"STREAM.UPDATE.{config['name']}", without, timeout=10)
    await js_api(bus, f"STREAM.UPDATE.{config['name']}", config, timeout=10)


async def newest_ids(bus: "EventBus", infos: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """By stream of events, the message id of its newest one; empty for an event without an id."""
    from mts1b_platform.eventbus.history.direct_get import DirectGet
    from mts1b_platform.eventbus.protocol.envelope_reader import read_ids

    found: dict[str, str] = {}
    for name, info in infos.items():
        if info["state"]["messages"] and any(overlaps(each, _EVENTS) for each in info["config"].get("subjects") or ()):
            last = await DirectGet(bus, name, f"$JS.API.DIRECT.GET.{name}").last()
            found[name] = read_ids(last.wire.head).msg_id if last else ""
    return found
