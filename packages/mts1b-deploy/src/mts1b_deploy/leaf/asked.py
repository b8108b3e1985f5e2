"""What was asked for about sites, checked before anything is written."""

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from mts1b_deploy.errors import UnknownName
from mts1b_deploy.nodes import DEFAULT_LEAF_PORT, Peer, peers_named
from mts1b_deploy.profiles import DEFAULT_PORT, Profile
from mts1b_deploy.record import InstallRecord, places


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the user asked for about sites. None means: as it is installed, or none."""

    site: str | None = None
    """The name of this site."""
    sites: str | None = None
    """Sites that stand in for each other."""
    mirrors: str | None = None
    """Of which site this is to be the mirror; empty: of none, from now on services use this one."""
    edges: str | None = None
    """Edges that forward to this site."""
    hubs: str | None = None
    """Of an edge: the nodes of its hub."""
    leaf_port: int | None = None
    """Where other sites connect."""


def sites_asked(profile: Profile, previous: InstallRecord | None, asked: Asked) -> dict[str, Any]:
    """The fields of the record about sites: as asked for, else as they are.

    Raises:
        UnknownName: it cannot be.
    """
    given = {
        "--site": asked.site,
        "--sites": asked.sites,
        "--edges": asked.edges,
        "--hub": asked.hubs,
        "--leaf-port": asked.leaf_port,
    }
    if not profile.secure:
        if foreign := [option for option, value in given.items() if value]:
            raise UnknownName(f"{', '.join(foreign)}: not with profile {profile.name}, whose server lets everybody in")
        return {}
    name = asked.site or (previous.site if previous else None)
    if previous is not None and previous.site and name != previous.site:
        raise UnknownName(
            f"--site {name}: this site is {previous.site}, and the other one knows its streams by that name: it cannot "
            "be changed in place"
        )
    found = {
        "sites": _places("--sites", asked.sites) or (previous.sites if previous else ()),
        "edges": _places("--edges", asked.edges) or (previous.edges if previous else ()),
        "hubs": _places("--hub", asked.hubs) or (previous.hubs if previous else ()),
    }
    if profile.forwards and not found["hubs"]:
        raise UnknownName(f"profile {profile.name} forwards to a hub: name it, such as --hub hub=10.0.0.1")
    if not name:
        if any(found.values()) or asked.leaf_port:
            raise UnknownName("--site NAME is missing: which one of the sites is this?")
        return {}
    _places("--site", f"{name}=localhost")
    _check(name, profile, found)
    was = previous.mirrors if previous else None
    port = asked.leaf_port or (previous.leaf_port if previous else None)
    return {
        "site": name,
        "mirrors": was if asked.mirrors is None else asked.mirrors or None,
        "leaf_port": port,
        **found,
    }


def own_place(fields: dict[str, Any]) -> Peer | None:
    """Where the others reach this site; None when there are none."""
    found = peers_named(
        ",".join(fields.get("sites") or ()), cluster_port=DEFAULT_LEAF_PORT, port=DEFAULT_PORT, option="--sites"
    )
    return next((each for each in found if each.name == fields["site"]), None)


def ensure_reached(edges: tuple[str, ...], host: str) -> None:
    """Check that edges can dial a hub that listens on ``host``.

    Raises:
        UnknownName: they are elsewhere, and it listens on this machine only.
    """
    elsewhere = [each for each in places(edges) if not _is_loopback(each.host)]
    if elsewhere and _is_loopback(host):
        raise UnknownName(
            f"--edges {', '.join(each.name for each in elsewhere)}: this site listens on {host}, where no other host "
            "reaches it: name the address that edges dial, such as --listen 10.0.0.1"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _places(option: str, text: str | None) -> tuple[str, ...]:
    found = peers_named(text or "", cluster_port=DEFAULT_LEAF_PORT, port=DEFAULT_PORT, option=option)
    return tuple(str(each) for each in found)


def _check(name: str, profile: Profile, found: dict[str, tuple[str, ...]]) -> None:
    names = {option: [each.partition("=")[0] for each in named] for option, named in found.items()}
    if sites := names["sites"]:
        if profile.name != "single":
            raise UnknownName(f"--sites: profile {profile.name} has no mirror, single has")
        if len(sites) != 2:
            raise UnknownName(f"--sites names {', '.join(sites)}: a site and its mirror are two")
        if name not in sites:
            raise UnknownName(f"--site {name} is not among --sites {', '.join(sites)}: list it there too")
    if names["hubs"] and not profile.forwards:
        raise UnknownName(f"--hub: profile {profile.name} forwards to nobody, profile edge does")
    if names["edges"] and profile.forwards:
        raise UnknownName("--edges: an edge has no edges of its own")
    if name in names["edges"] or set(sites) & set(names["edges"]):
        raise UnknownName(f"--edges {', '.join(names['edges'])}: one has the name of another site; each needs its own")
