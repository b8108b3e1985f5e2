"""Requests to act, each done once: what was asked under an id, how far it is, and what was answered.

Kept by compare-and-set in the dedupe bucket for 8 days, as what becomes of dead letters is. A responder that finds a
request begun by another, which was killed in the middle, goes on with it: actions are made so that they can be.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from mts1b_foundation.subjects import encode_token
from mts1b_platform.eventbus import EventBus
from mts1b_platform.eventbus.dedupe.cells import Cells, Conflict
from mts1b_platform.eventbus.dedupe.kv import BUCKET

from mts1b_operations.declared import DURABLE


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Attributes:
        by: who asked.
        subject: what, and for which fund.
        digest: of what was asked, so that one id is not used for two things.
        since: when it was begun, UTC.
        facts: what the action was decided to be about, frozen when it was begun.
        answer: what was answered when it was done; None until then.
    """

    by: str
    subject: str
    digest: str
    since: str
    facts: Mapping[str, Any]
    answer: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """A request as it is stored."""

    key: str
    revision: int
    request: Request


class Requests:
    """The requests of ``bus``'s server."""

    def __init__(self, bus: EventBus) -> None:
        self._cells = Cells(bus, BUCKET)

    async def find(self, request_id: str) -> Held | None:
        """The request with this id.

        Raises:
            StoreError: the bucket cannot be read.
        """
        key = f"{encode_token(DURABLE)}.act.{encode_token(request_id)}"
        cell = await self._cells.read(key)
        return None if cell is None else Held(key, cell.revision, Request(**json.loads(cell.value)))

    async def begin(self, request_id: str, by: str, subject: str, digest: str, facts: Mapping[str, Any]) -> Held:
        """Begin; the request that somebody else has begun meanwhile, if that was quicker.

        Raises:
            StoreError: the bucket cannot be used.
        """
        key = f"{encode_token(DURABLE)}.act.{encode_token(request_id)}"
        request = Request(by, subject, digest, datetime.now(UTC).isoformat(timespec="seconds"), facts)
        while True:
            try:
                return Held(key, await self._cells.write(key, json.dumps(asdict(request)).encode(), 0), request)
            except Conflict:
                if (held := await self.find(request_id)) is not None:
                    return held

    async def finish(self, held: Held, answer: Mapping[str, Any]) -> None:
        """Keep the answer; who went on with the same request may have done so already."""
        done = replace(held.request, answer=answer)
        try:
            await self._cells.write(held.key, json.dumps(asdict(done)).encode(), held.revision)
        except Conflict:
            return
