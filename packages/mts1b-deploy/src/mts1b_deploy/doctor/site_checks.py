"""Whether another site could stand in for this one, and whether what is copied is heard."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from mts1b_platform.server.probe import read_info

from mts1b_deploy.doctor.deviation import Deviation
from mts1b_deploy.layout import Layout
from mts1b_deploy.mirrors.mirror import leaf_sites
from mts1b_deploy.mirrors.positions import Positions
from mts1b_deploy.nodes import Peer, address
from mts1b_deploy.record import InstallRecord, places

SILENT: Final = 15.0
"""Seconds without a sign of life after which a copy counts as cut off; an idle stream gives one each second."""
_OLD: Final = 30.0
_NANOSECONDS: Final = 1e9


def check_sites(layout: Layout, record: InstallRecord) -> Iterator[Deviation]:
    """What can be seen without the bus: connections between sites, kept positions, a second site that serves."""
    connected = leaf_sites(record)
    if record.mirrors:
        yield from _positions(layout, record)
        return
    for other in record.other_sites:
        if read_info(other.host, other.port, timeout=2.0) is not None:
            yield Deviation(
                "two-sites-serve",
                f"site {other.name} serves at {address(other.host, other.port)}, and so does this one: what both store "
                "cannot be brought together again",
                "`mts1b-deploy stop` on the one that is not to serve, then `mts1b-deploy mirror` there",
            )
        elif other.name not in connected:
            yield Deviation(
                "mirror-away",
                f"site {other.name} is not connected: what is stored now exists once",
                "`mts1b-deploy start` on its host, or `mts1b-deploy mirror` to make it; its log says what is wrong",
            )
    for edge in places(record.edges):
        if edge.name not in connected and not record.clustered:  # it dials one node of a cluster
            yield Deviation(
                "edge-away",
                f"edge {edge.name} is not connected: it stores on, and nothing of that comes here",
                "see the network between, and `mts1b-deploy logs` on the edge",
            )


def check_copies(infos: Mapping[str, Mapping[str, Any]]) -> Iterator[Deviation]:
    """Whether every stream that copies another one still hears it. Its ``lag`` says 0 while it is cut off."""
    for name, info in infos.items():
        for copied in (*([info["mirror"]] if info.get("mirror") else ()), *(info.get("sources") or ())):
            silent = copied.get("active", -1) / _NANOSECONDS
            if silent < 0 or silent > SILENT:
                since = "since the server started" if silent < 0 else f"for {silent:.0f} s"
                external: dict[str, str] = copied.get("external") or {}
                api = external.get("api", "$JS.here.API")
                yield Deviation(
                    "source-silent",
                    f"stream {name} has heard nothing {since} of {copied['name']} at site {api.split('.')[1]}: what is "
                    "stored there does not come here",
                    "see the network between the sites, and `mts1b-deploy logs` at both",
                )


def check_passing(passing: Collection[str]) -> Iterator[Deviation]:
    """Whether events pass the connection between sites as themselves, and are stored at both ends."""
    if passing:
        yield Deviation(
            "events-pass",
            f"{', '.join(passing)} pass between the sites as themselves: they are stored twice, as published and as "
            "copied",
            "`mts1b-deploy install --overwrite` at the hub, or at the site that a mirror copies, brings the rights of "
            "sites in its nats.conf back",
        )


def check_ids(edge: str, newest: Mapping[str, str]) -> Iterator[Deviation]:
    """Whether ids of an edge's newest events, by stream, begin with its name."""
    for stream, msg_id in sorted(newest.items()):
        if msg_id and not msg_id.startswith(f"{edge}:"):
            yield Deviation(
                "ids-without-edge",
                f"the newest event of {stream} has the id {msg_id!r}, without this edge's name: should another edge "
                "use the same id, the hub drops one of the two without a word",
                f'`edge = "{edge}"` in the mts1b.toml of its publisher, as `mts1b-deploy install` writes it',
            )


def check_one_host(nodes: Collection[Peer]) -> Iterator[Deviation]:
    """Whether nodes of a cluster share a host, and so its power, disk and kernel."""
    hosts = [node.host for node in nodes]
    for host in sorted({host for host in hosts if hosts.count(host) > 1}):
        together = ", ".join(node.name for node in nodes if node.host == host)
        yield Deviation(
            "one-host",
            f"{together} are on one host, {host}: they share its power, disk and kernel, so the cluster is no more "
            "available than one node",
            "put each on a host of its own; or install one node and a mirror elsewhere (docs/sites.md)",
            "accepted",
        )


def _positions(layout: Layout, record: InstallRecord) -> Iterator[Deviation]:
    kept = Positions.load(layout)
    if kept is None or kept.site != record.mirrors or kept.age > _OLD:
        state = f"are {kept.age:.0f} s old" if kept is not None and kept.site == record.mirrors else "were never kept"
        yield Deviation(
            "positions-old",
            f"the positions of durables of site {record.mirrors} {state}: after a promotion what was handled since "
            "then comes again",
            "`mts1b-deploy follow` keeps them; let it run all the time",
        )
