"""What a site stored that the promoted one does not have: found by sequence, written to a file before it is deleted."""

import base64
import json
from collections.abc import AsyncIterator
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mts1b_platform.eventbus.history.direct_get import DirectGet
from mts1b_platform.eventbus.history.recorded import Recorded
from mts1b_platform.eventbus.protocol.envelope_reader import read_ids
from pydantic import BaseModel, ConfigDict

from mts1b_deploy.layout import Layout
from mts1b_deploy.mirrors.mirror import (
    PROMOTED,
    apply_mirrors,
    connect_to,
    domain_of,
    origin_of,
    stream_infos,
)
from mts1b_deploy.record import InstallRecord
from mts1b_deploy.streams import AppliedStream, connect_as_admin

if TYPE_CHECKING:
    from mts1b_platform.eventbus import EventBus


_NONE: frozenset[str] = frozenset()


class Lost(BaseModel):
    """One event that only the old site has.

    Attributes:
        stream: where it was stored.
        seq: under which sequence there.
        time: when.
        subject: on which subject.
        msg_id: its id; empty when it had none.
        again: whether its publisher sent it again, so that the other site has it after all.
        headers: as they were, base64.
        data: the payload, base64.
    """

    model_config = ConfigDict(frozen=True)

    stream: str
    seq: int
    time: str
    subject: str
    msg_id: str
    again: bool
    headers: str
    data: str


async def find_lost(layout: Layout, record: InstallRecord) -> list[Lost]:
    """Every event of this site that was stored behind what the other one had when it was promoted.

    Raises:
        SiteError: the other site cannot be reached, or was not promoted in place of this one.
    """
    other = origin_of(record)
    found: list[Lost] = []
    async with await connect_to(layout, other) as there, await connect_as_admin(layout, record) as here:
        theirs = await stream_infos(there)
        for name, info in (await stream_infos(here)).items():
            if domain_of(info["config"]) or not info["state"]["messages"]:
                continue
            begin = _copied_up_to(theirs.get(name), str(record.site)) + 1
            mine = [each async for each in _stored(here, name, begin, info)]
            known = {_id(each) async for each in _stored(there, name, begin, theirs[name])} if name in theirs else _NONE
            found += [_lost(each, known) for each in mine]
    return found


def write_lost(layout: Layout, lost: list[Lost]) -> Path:
    """Write them down, a JSON object each; the file."""
    path = layout.data / f"lost-{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}.jsonl"
    path.write_text("".join(each.model_dump_json() + "\n" for each in lost))
    path.chmod(0o600)
    return path


async def give_up(layout: Layout, record: InstallRecord) -> list[AppliedStream]:
    """Delete every stream of this site that is no mirror, and make mirrors in their place."""
    from mts1b_platform.eventbus.jetstream.api import js_api

    async with await connect_as_admin(layout, record) as here:
        for name, info in (await stream_infos(here)).items():
            if not domain_of(info["config"]):
                await js_api(here, f"STREAM.DELETE.{name}", timeout=30)
    return await apply_mirrors(layout, record)


def _copied_up_to(info: dict[str, Any] | None, site: str) -> int:
    """The sequence up to which the promoted stream is what ``site`` stored; 0 when it was never its mirror."""
    config: dict[str, Any] = (info or {}).get("config") or {}
    metadata: dict[str, str] = config.get("metadata") or {}
    mark = metadata.get(PROMOTED)
    found: dict[str, Any] = json.loads(mark) if mark else {}
    return int(found["last_seq"]) if found.get("from") == site else 0


async def _stored(bus: "EventBus", stream: str, first: int, info: dict[str, Any]) -> AsyncIterator[Recorded]:
    """What a stream holds from one sequence on, up to what was its last one when ``info`` was asked for."""
    get = DirectGet(bus, stream, f"$JS.API.DIRECT.GET.{stream}")
    async for batch in get.batches(max(first, info["state"]["first_seq"]), info["state"]["last_seq"], ">"):
        for each in batch:
            yield each


def _id(stored: Recorded) -> str:
    return read_ids(stored.wire.head).msg_id


def _lost(stored: Recorded, known: AbstractSet[str]) -> Lost:
    msg_id = _id(stored)
    return Lost(
        stream=stored.stream,
        seq=stored.seq,
        time=stored.stamp,
        subject=stored.wire.subject.decode(),
        msg_id=msg_id,
        again=bool(msg_id) and msg_id in known,
        headers=base64.b64encode(stored.wire.head).decode(),
        data=base64.b64encode(stored.wire.payload).decode(),
    )
