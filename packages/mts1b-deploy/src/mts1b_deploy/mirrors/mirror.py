"""The streams of a mirror: one for each stream of the other site, made and kept as that one is.

A mirror has the messages of its origin with their sequences, times and ids. What a mirror cannot have (subjects, atomic
publishing, a window in which ids are known) stands in its metadata, so that one update promotes it.
"""

import asyncio
import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from mts1b_foundation.errors import Mts1bError
from mts1b_platform.server.probe import read_monitor

from mts1b_deploy.errors import SiteError
from mts1b_deploy.layout import Layout
from mts1b_deploy.leaf.connection import dialled
from mts1b_deploy.mirrors.positions import read_positions
from mts1b_deploy.nodes import Peer, address
from mts1b_deploy.profiles import LOOPBACK
from mts1b_deploy.record import InstallRecord
from mts1b_deploy.streams import ADMIN, AppliedStream, connect_as_admin

if TYPE_CHECKING:
    from mts1b_platform.eventbus import EventBus

ORIGIN: Final = "mts1b-origin"
"""In the metadata of a mirror: what its origin has and a mirror cannot, as JSON."""
PROMOTED: Final = "mts1b-promoted"
"""In the metadata of a stream that was a mirror: of which site, when, and with which last sequence, as JSON."""
_ONLY_ORIGIN: Final = ("subjects", "sources", "duplicate_window", "allow_atomic", "allow_batched")
_COMPARED: Final = ("max_age", "max_bytes", "max_msgs", "max_msgs_per_subject", "discard", "description", "metadata")
_POLL = 0.1
_UNTRUSTED: Final = "unknown authority"
"""The server's words for a certificate of somebody whom it does not know."""


def mirror_config(origin: Mapping[str, Any], domain: str) -> dict[str, Any]:
    """The configuration of a mirror of the stream with the configuration ``origin`` in ``domain``."""
    kept = {name: origin[name] for name in _ONLY_ORIGIN if origin.get(name)}
    config = {name: value for name, value in origin.items() if name not in _ONLY_ORIGIN}
    config["num_replicas"] = 1
    config["metadata"] = _own_metadata(origin) | {ORIGIN: json.dumps(kept, separators=(",", ":"), sort_keys=True)}
    config["mirror"] = {"name": origin["name"], "external": {"api": f"$JS.{domain}.API"}}
    return config


def promoted_config(held: Mapping[str, Any], *, at: str, last_seq: int) -> dict[str, Any]:
    """The configuration that makes a stream of its own from the mirror with the configuration ``held``."""
    metadata = _own_metadata(held)
    kept = json.loads(metadata.pop(ORIGIN))
    origin = domain_of(held)
    metadata[PROMOTED] = json.dumps({"from": origin, "at": at, "last_seq": last_seq}, separators=(",", ":"))
    return {name: value for name, value in held.items() if name != "mirror"} | kept | {"metadata": metadata}


def domain_of(config: Mapping[str, Any]) -> str | None:
    """The site that the mirror with this configuration copies from; None for a stream that is no mirror."""
    mirror = config.get("mirror")
    return mirror["external"]["api"].split(".")[1] if mirror and mirror.get("external") else None


def _own_metadata(config: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = config.get("metadata") or {}
    return {name: value for name, value in found.items() if not name.startswith("_nats.") and name != PROMOTED}


async def apply_mirrors(layout: Layout, record: InstallRecord) -> list[AppliedStream]:
    """Make a mirror of every stream of the other site, and bring those that are there up to date.

    Streams with messages of their own, which would be lost, are left alone and named ``kept``.

    Raises:
        SiteError: the other site cannot be reached, or this one is not let in there.
    """
    from mts1b_platform.eventbus.jetstream.apply_streams import stream_config, wait_for_jetstream

    other = origin_of(record)
    done: list[AppliedStream] = []
    async with await connect_to(layout, other) as origin, await connect_as_admin(layout, record) as bus:
        await asyncio.to_thread(wait_for_leaf, layout, record)
        await wait_for_jetstream(bus)
        configs = await stream_configs(origin)
        for name, config in configs.items():
            wanted, held = mirror_config(config, other.name), await stream_config(bus, name)
            done.append(AppliedStream(name, await _bring(bus, wanted, held)))
    return done


async def undeclared(layout: Layout, record: InstallRecord) -> list[str]:
    """Durables of the other site that nobody declares here: once this one is promoted, their readers are refused.

    Raises:
        SiteError: the other site cannot be reached.
    """
    from mts1b_platform.eventbus.declared import declared

    known = {(each.stream, each.durable) for each in declared(record.checkouts).consumers}
    async with await connect_to(layout, origin_of(record)) as origin:
        positions = await read_positions(origin, str(record.mirrors), list(await stream_configs(origin)))
    return [f"{each.name} on {each.stream}" for each in positions.durables if (each.stream, each.name) not in known]


async def _bring(bus: "EventBus", wanted: dict[str, Any], held: dict[str, Any] | None) -> str:
    from mts1b_platform.eventbus.jetstream.api import js_api

    name = wanted["name"]
    if held is None:
        await js_api(bus, f"STREAM.CREATE.{name}", wanted, timeout=10)
        return "created"
    if domain_of(held) != domain_of(wanted):
        if (await js_api(bus, f"STREAM.INFO.{name}"))["state"]["messages"]:
            return "kept"
        await js_api(bus, f"STREAM.DELETE.{name}", timeout=30)
        await js_api(bus, f"STREAM.CREATE.{name}", wanted, timeout=10)
        return "created"
    if all(_without_server(held, key) == wanted.get(key) for key in _COMPARED):
        return "unchanged"
    fields = {key: wanted[key] for key in _COMPARED if key in wanted}
    await js_api(bus, f"STREAM.UPDATE.{name}", held | fields, timeout=10)
    return "updated"


def _without_server(held: Mapping[str, Any], key: str) -> Any:
    return _own_metadata(held) if key == "metadata" else held.get(key)


def origin_of(record: InstallRecord) -> Peer:
    """The site that this one is a mirror of.

    Raises:
        SiteError: it is none.
    """
    if not record.mirrors:
        name = f"site {record.site}" if record.site else "this installation"
        raise SiteError(f"{name} is no mirror: `mts1b-deploy mirror` on the host that is to stand in makes it one")
    return dialled(record)[0]


async def connect_to(layout: Layout, site: Peer, *, timeout: float = 5.0) -> "EventBus":
    """A connection to another site, with the right to manage streams.

    Raises:
        SiteError: it cannot be reached, or does not let us in.
    """
    from mts1b_platform.eventbus import connect

    url = f"tls://{address(site.host, site.port)}"
    try:
        return await connect(servers=url, service=ADMIN, config=layout.config, connect_timeout=timeout)
    except Mts1bError as error:
        raise SiteError(f"site {site.name} at {url}: {error}") from error


async def stream_configs(bus: "EventBus") -> dict[str, dict[str, Any]]:
    """The configuration of every stream, by name."""
    return {name: info["config"] for name, info in (await stream_infos(bus)).items()}


async def stream_infos(bus: "EventBus") -> dict[str, dict[str, Any]]:
    """What the server says of every stream, by name."""
    from mts1b_platform.eventbus.jetstream.api import js_api

    found: dict[str, dict[str, Any]] = {}
    while True:
        page = await js_api(bus, "STREAM.LIST", {"offset": len(found)}, timeout=10)
        for info in page.get("streams") or ():
            found[info["config"]["name"]] = info
        if len(found) >= page["total"] or not page.get("streams"):
            return dict(sorted(found.items()))


def has_leaf(record: InstallRecord) -> bool:
    """Whether there is a connection to another site now."""
    page = read_monitor(LOOPBACK, record.monitor_port, "/leafz") or {}
    return bool(page.get("leafs"))


def leaf_sites(record: InstallRecord) -> set[str]:
    """The sites that are connected to this one, by their names."""
    page = read_monitor(LOOPBACK, record.monitor_port, "/leafz") or {}
    return {str(each.get("name")) for each in page.get("leafs") or ()}


def wait_for_leaf(layout: Layout, record: InstallRecord, *, timeout: float = 15.0) -> None:
    """Return once the site that this one dials has let it in.

    Raises:
        SiteError: it has not; says why, in the server's words.
    """
    mark = layout.nats_log.stat().st_size if layout.nats_log.exists() else 0
    until = time.monotonic() + timeout
    while not has_leaf(record):
        why = _complaint(layout, mark)
        if time.monotonic() > until or _UNTRUSTED in why:
            places = ", ".join(f"{each.name} at {address(each.host, each.cluster_port)}" for each in dialled(record))
            raise SiteError(f"no connection to site {places}: {why}")
        time.sleep(_POLL)


def _complaint(layout: Layout, mark: int) -> str:
    """Why the other site cannot be reached, as the server's log has it."""
    with layout.nats_log.open("rb") as log:
        log.seek(mark)
        said = log.read().decode(errors="replace")
    words = [line.rpartition("] ")[2] for line in said.splitlines() if "[ERR]" in line or "[WRN]" in line]
    if not words:
        return (
            "its log says nothing: is the port open, and does the other site have `--sites` or `--edges` with this one?"
        )
    hint = "; its certificate is signed by another authority than this site trusts: take that one's with --pki"
    return words[-1] + (hint if _UNTRUSTED in words[-1] else "")
