"""A site that was promoted lets the old one store nothing more, should it be back."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mts1b_deploy.errors import SiteError
from mts1b_deploy.layout import Layout
from mts1b_deploy.mirrors.mirror import PROMOTED, connect_to, domain_of, stream_infos
from mts1b_deploy.nodes import Peer, address
from mts1b_deploy.permissions import SYSTEM
from mts1b_deploy.record import InstallRecord

if TYPE_CHECKING:
    from mts1b_platform.eventbus import EventBus

FENCED: Final = "mts1b-fenced"
"""In the metadata of a stream that stores nothing any more: by which site, and its subjects before, as JSON."""


@dataclass(frozen=True, slots=True)
class Fenced:
    """What was done at a site that went on storing."""

    site: str
    streams: tuple[str, ...]
    clients: int
    """Connections that were ended: they go to the next server of their list."""


async def fence(layout: Layout, record: InstallRecord, other: Peer) -> Fenced | None:
    """Let ``other`` store nothing more, and send its clients away; None when it stores nothing anyway.

    Raises:
        SiteError: this site was not promoted over the other one, which may not be fenced then.
    """
    from mts1b_platform.eventbus.jetstream.api import js_api

    from mts1b_deploy.streams import connect_as_admin

    async with await connect_as_admin(layout, record) as here:
        if not _promoted_over(await stream_infos(here), other.name):
            raise SiteError(
                f"site {other.name} serves, and {record.site} was not promoted in its place: it may not stop it"
            )
    done: list[str] = []
    async with await connect_to(layout, other) as bus:
        for name, info in (await stream_infos(bus)).items():
            config: dict[str, Any] = info["config"]
            metadata: dict[str, str] = config.get("metadata") or {}
            if domain_of(config) or FENCED in metadata:
                continue
            mark = json.dumps({"by": record.site, "subjects": config.get("subjects")}, separators=(",", ":"))
            fenced = config | {"subjects": [f"fenced.{name}"], "metadata": metadata | {FENCED: mark}}
            await js_api(bus, f"STREAM.UPDATE.{name}", fenced, timeout=10)
            done.append(name)
    if not done:
        return None
    return Fenced(other.name, tuple(done), await _send_away(layout, other))


def _promoted_over(infos: dict[str, dict[str, Any]], site: str) -> bool:
    for info in infos.values():
        metadata: dict[str, str] = info["config"].get("metadata") or {}
        if (mark := metadata.get(PROMOTED)) and json.loads(mark)["from"] == site:
            return True
    return False


async def _send_away(layout: Layout, other: Peer) -> int:
    """End every client's connection but our own; how many there were."""
    from mts1b_platform.eventbus import connect

    ended = 0
    async with await connect(
        servers=f"tls://{address(other.host, other.port)}", service=SYSTEM, config=layout.config, connect_timeout=5
    ) as bus:
        server = json.loads((await bus.request("$SYS.REQ.SERVER.PING", b"", timeout=5)).data)["server"]["id"]
        page = await _ask(bus, f"$SYS.REQ.SERVER.{server}.CONNZ", {"auth": True, "limit": 1_000_000})
        for each in page["data"].get("connections") or ():
            if each.get("account") not in ("SYS", "$SYS"):
                await _ask(bus, f"$SYS.REQ.SERVER.{server}.KICK", {"cid": each["cid"]})
                ended += 1
    return ended


async def _ask(bus: "EventBus", subject: str, body: dict[str, Any]) -> dict[str, Any]:
    return json.loads((await bus.request(subject, json.dumps(body).encode(), timeout=5)).data)
