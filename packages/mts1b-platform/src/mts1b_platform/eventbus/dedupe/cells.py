"""Compare-and-set on the keys of a NATS key-value bucket, through reconnects and lost acks.

nats-py's bucket says "wrong last sequence" when the ack of a write was lost and it was sent again; who cares
whether the first attempt was stored reads the cell, which always asks the stream's leader (a direct get may be
answered by a follower that lags behind).
"""

import asyncio
import json
import math
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from mts1b_platform.eventbus.connection.client import BusClient
from mts1b_platform.eventbus.errors import (
    BusClosed,
    BusError,
    JetStreamUnavailable,
    NoResponders,
    OutboundBufferFull,
    RequestTimeout,
    ServerUnavailable,
    StoreError,
)
from mts1b_platform.eventbus.jetstream.api import ApiError
from mts1b_platform.eventbus.jetstream.stored import read_stored
from mts1b_platform.eventbus.protocol.error_codes import WRONG_LAST_SEQUENCE
from mts1b_platform.eventbus.protocol.frames import hpub_frame
from mts1b_platform.eventbus.protocol.headers import header_block

_ATTEMPT = 2.0
_BUDGET = 15.0
_PAUSE = 0.1
_UNAVAILABLE = 503


_REMOVED: Final = header_block({"KV-Operation": "PURGE", "Nats-Rollup": "sub", "Nats-TTL": "60s"})


class Conflict(Exception):
    """The cell is not at the revision that the write expected."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A key's value and its revision."""

    value: bytes
    revision: int


class Cells:
    """The keys of one bucket."""

    def __init__(self, client: BusClient, bucket: str) -> None:
        self.stream = f"KV_{bucket}"
        self._client = client
        self._prefix = f"$KV.{bucket}."

    async def write(self, key: str, value: bytes, expected: int, *, ttl: float | None = None) -> int:
        """Set ``key`` if it is at revision ``expected`` (0: it does not exist); its new revision.

        Retried while the server is away; a conflict may then be with the own first attempt.

        Args:
            key: without wildcards.
            value: what to store.
            expected: the revision it must be at.
            ttl: seconds, rounded up to whole ones, until the server removes the key.

        Raises:
            Conflict: it is at another revision.
            StoreError: it could not be written within 15 s.
        """
        headers = {"Nats-Expected-Last-Subject-Sequence": str(expected)}
        if ttl is not None:
            headers["Nats-TTL"] = f"{math.ceil(ttl)}s"
        end = asyncio.get_running_loop().time() + _BUDGET
        while True:
            try:
                answer = await self._client.request(self._prefix + key, value, timeout=_ATTEMPT, headers=headers)
            except BusClosed:
                raise BusClosed(f"dedupe {key}: the bus is closed; nothing was marked") from None
            except (NoResponders, OutboundBufferFull, RequestTimeout, ServerUnavailable) as e:
                problem = str(e)
            else:
                document = json.loads(answer.data)
                if (error := document.get("error")) is None:
                    return int(document["seq"])
                if error.get("err_code") in WRONG_LAST_SEQUENCE:
                    raise Conflict(key)
                problem = f"{error.get('description')} (error {error.get('err_code')})"
                if error.get("code") != _UNAVAILABLE:
                    raise StoreError(f"dedupe {key}: {self.stream} did not store it: {problem}")
            await self._pause(key, problem, end)

    def remove(self, key: str) -> None:
        """Have ``key`` removed, without waiting for it; a marker of it is kept for a minute."""
        with suppress(BusError):
            self._client.connection.send(hpub_frame((self._prefix + key).encode(), _REMOVED))

    async def read(self, key: str) -> Cell | None:
        """The value of ``key`` as the stream's leader has it; None when there is none.

        Raises:
            StoreError: nobody answered within 15 s.
        """
        end = asyncio.get_running_loop().time() + _BUDGET
        while True:
            try:
                found = await read_stored(self._client, self.stream, last_by=self._prefix + key, timeout=_ATTEMPT)
            except JetStreamUnavailable as error:
                problem = str(error)
            except ApiError as error:
                if error.code != _UNAVAILABLE:
                    raise StoreError(f"dedupe {key} cannot be read: {error}") from error
                problem = str(error)
            else:
                return None if found is None else Cell(found.wire.payload, found.seq)
            await self._pause(key, problem, end)

    async def _pause(self, key: str, problem: str, end: float) -> None:
        if asyncio.get_running_loop().time() > end:
            raise StoreError(f"dedupe {key}: {self.stream} did not answer for {_BUDGET:g} s: {problem}")
        await self._client.wait_connected(_PAUSE)
        await asyncio.sleep(_PAUSE)
