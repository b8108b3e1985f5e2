"""``mts1b-deploy promote``: the mirror becomes the site that services use.

In this order, so that an interruption at any point leaves a mirror that can be promoted again, and nobody stores at two
sites:

1. the other site must not answer, and be connected to no longer;
2. one update for each stream: it stops copying, and takes subjects;
3. the durables, each behind the position that was kept of it;
4. the server starts anew on the addresses that services dial, and so knows the ids of what it copied: a retry of an
   event that it has is recognised. Until then nobody but this machine gets in.
"""

import asyncio
import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from mts1b_platform.config import user_config
from mts1b_platform.server.probe import read_info

from mts1b_deploy.errors import SiteError
from mts1b_deploy.install import install
from mts1b_deploy.layout import Layout
from mts1b_deploy.leaf.asked import Asked
from mts1b_deploy.mirrors.mirror import domain_of, origin_of, promoted_config, stream_infos
from mts1b_deploy.mirrors.positions import Positions, carry_over
from mts1b_deploy.nodes import Peer, address
from mts1b_deploy.plan import Request
from mts1b_deploy.record import InstallRecord, record_of
from mts1b_deploy.streams import connect_as_admin

_NANOSECONDS = 1e9
_PATIENCE = 3.0
"""Seconds within which a site that lives answers, and a stream of it gives a sign of life (one each second)."""


@dataclass(frozen=True, slots=True)
class Copy:
    """One stream of a mirror before it is promoted."""

    stream: str
    last_seq: int
    messages: int
    silent: float
    """Seconds since something was heard of the other site's stream: what was stored there since is not here."""


@dataclass(frozen=True, slots=True)
class Promotion:
    """What promoting would do, or did."""

    site: str
    over: str
    copies: tuple[Copy, ...]
    durables: int
    positions_age: float | None
    """Seconds since positions of durables were kept; None when there are none."""
    carried: tuple[tuple[str, str, int], ...] = field(default=())
    """Stream, durable, and the sequence at which it begins; of those that were made."""

    @property
    def effects(self) -> list[str]:
        """What happens, a sentence each."""
        silent = max((each.silent for each in self.copies), default=0.0)
        since = f"for {silent:.0f} s" if silent < math.inf else "since the server here was started"
        messages = sum(each.messages for each in self.copies)
        copied = f"{len(self.copies)} streams with {messages:,} messages"
        found = [
            f"{copied} stop copying from {self.over}, and store what services publish",
            f"nothing was heard of {self.over} {since}: what it stored since then is not here",
            f"{self.over} must not serve again: `mts1b-deploy mirror` there lists what is not here, and makes it one",
        ]
        if self.positions_age is None:
            found.append(
                "no positions of durables were kept (`mts1b-deploy follow` did not run): each begins at the first "
                "stored event, and readers without a dedupe store handle everything again"
            )
        else:
            found.append(
                f"{self.durables} durables go on where they were {self.positions_age:.0f} s ago; what they handled "
                "since comes again, and readers with a dedupe store skip it"
            )
        return found


def look(layout: Layout) -> Promotion:
    """What promoting this site would do now; changes nothing.

    Raises:
        SiteError: this site is no mirror, or the other one lives.
    """
    record = record_of(layout)
    other = origin_of(record)
    if read_info(other.host, other.port, timeout=_PATIENCE) is not None:
        raise _lives(record, other, "it answers")
    return asyncio.run(_look(layout, record, other))


def _lives(record: InstallRecord, other: Peer, why: str) -> SiteError:
    return SiteError(
        f"site {other.name} at {address(other.host, other.port)} lives: {why}. What two sites store cannot be brought "
        f"together again. Stop it there (`mts1b-deploy stop`), and see that it stays down; then promote {record.site}. "
        "Nothing was changed"
    )


async def _look(layout: Layout, record: InstallRecord, other: Peer) -> Promotion:
    async with await connect_as_admin(layout, record) as bus:
        infos = await stream_infos(bus)
    positions = Positions.load(layout)
    copies = tuple(
        Copy(name, info["state"]["last_seq"], info["state"]["messages"], silent)
        for name, info in infos.items()
        if (silent := _silent(info)) is not None
    )
    if any(each.silent < _PATIENCE for each in copies):
        raise _lives(record, other, "it still sends")
    kept = positions if positions is not None and positions.site == other.name else None
    return Promotion(
        str(record.site), other.name, copies, len(kept.durables) if kept else 0, kept.age if kept else None
    )


def _silent(info: dict[str, Any]) -> float | None:
    """Seconds since a mirror has heard its origin; None for a stream that is none."""
    if not domain_of(info["config"]):
        return None
    active = info["mirror"].get("active", -1)
    return active / _NANOSECONDS if active >= 0 else math.inf


def promote(layout: Layout, *, timeout: float = 60.0) -> Promotion:
    """Make this mirror the site that services use. Run again after an interruption, it does what is left.

    Raises:
        SiteError: as :func:`look`; nothing was changed.
        DeployError: the server did not come up on its new addresses; the command can be run again.
    """
    shown = look(layout)
    record = record_of(layout)
    carried = asyncio.run(_promote(layout, record))
    request = Request(profile=record.profile, sites=Asked(mirrors=""), user_config=str(user_config()) in record.files)
    install(layout, request, timeout=timeout)
    return Promotion(shown.site, shown.over, shown.copies, shown.durables, shown.positions_age, tuple(carried))


async def _promote(layout: Layout, record: InstallRecord) -> list[tuple[str, str, int]]:
    from mts1b_platform.eventbus.jetstream.api import js_api

    at = datetime.now(UTC).isoformat(timespec="seconds")
    async with await connect_as_admin(layout, record) as bus:
        for name, info in (await stream_infos(bus)).items():
            if not domain_of(info["config"]):
                continue
            last = info["state"]["last_seq"]
            config = promoted_config(info["config"], at=at, last_seq=last)
            answer = await js_api(bus, f"STREAM.UPDATE.{name}", config, timeout=10)
            if (now := answer["state"]["last_seq"]) != last:  # it copied on until the update
                config = promoted_config(info["config"], at=at, last_seq=now)
                await js_api(bus, f"STREAM.UPDATE.{name}", config, timeout=10)
        last_of = {name: info["state"]["last_seq"] for name, info in (await stream_infos(bus)).items()}
        positions = Positions.load(layout)
        kept = positions if positions is not None and positions.site == record.mirrors else None
        made = await carry_over(bus, kept, last_of) if kept else []
    return [(durable.stream, durable.name, start) for durable, start in made]
