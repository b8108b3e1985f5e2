"""Compare-and-set on the keys of a NATS key-value bucket, through reconnects and lost acks.

nats-py's bucket says "wrong last sequence" when the ack of a write was lost and it was sent again; who cares
whether the first attempt was stored reads the cell, which always asks the stream's leader (a direct get may be
answered by a follower that lags behind).
"""

import asyncio
import json
import math
from base64 import b64decode
from dataclasses import dataclass
from typing import TYPE_CHECKING

import nats.errors

from mts1b_platform.eventbus.api import ApiError, js_api
from mts1b_platform.eventbus.errors import BusClosed, JetStreamUnavailable, StoreError

if TYPE_CHECKING:
    from mts1b_platform.eventbus.bus import EventBus

_ATTEMPT = 2.0
_BUDGET = 15.0
_PAUSE = 0.1
_WRONG_LAST_SEQUENCE = frozenset({10071, 10164})
_NO_MESSAGE = 10037
_UNAVAILABLE = 503


class Conflict(Exception):
    """The cell is not at the revision that the write expected."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A key's value and its revision."""

    value: bytes
    revision: int


class Cells:
    """The keys of one bucket."""

    def __init__(self, bus: "EventBus", bucket: str) -> None:
        self.stream = f"KV_{bucket}"
        self._bus = bus
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
                answer = await self._bus.request(self._prefix + key, value, timeout=_ATTEMPT, headers=headers)
            except (nats.errors.ConnectionClosedError, nats.errors.ConnectionDrainingError):
                raise BusClosed(f"dedupe {key}: the bus is closed; nothing was marked") from None
            except (TimeoutError, nats.errors.NoRespondersError, nats.errors.OutboundBufferLimitError) as e:
                problem = str(e) or type(e).__name__
            else:
                document = json.loads(answer.data)
                if (error := document.get("error")) is None:
                    return int(document["seq"])
                if error.get("err_code") in _WRONG_LAST_SEQUENCE:
                    raise Conflict(key)
                problem = f"{error.get('description')} (error {error.get('err_code')})"
                if error.get("code") != _UNAVAILABLE:
                    raise StoreError(f"dedupe {key}: {self.stream} did not store it: {problem}")
            await self._pause(key, problem, end)

    async def read(self, key: str) -> Cell | None:
        """The value of ``key`` as the stream's leader has it; None when there is none.

        Raises:
            StoreError: nobody answered within 15 s.
        """
        end = asyncio.get_running_loop().time() + _BUDGET
        while True:
            try:
                document = await js_api(
                    self._bus, f"STREAM.MSG.GET.{self.stream}", {"last_by_subj": self._prefix + key}, timeout=_ATTEMPT
                )
            except JetStreamUnavailable as error:
                problem = str(error)
            except ApiError as error:
                if error.err_code == _NO_MESSAGE:
                    return None
                if error.code != _UNAVAILABLE:
                    raise StoreError(f"dedupe {key} cannot be read: {error}") from error
                problem = str(error)
            else:
                message = document["message"]
                return Cell(b64decode(message.get("data", "")), int(message["seq"]))
            await self._pause(key, problem, end)

    async def _pause(self, key: str, problem: str, end: float) -> None:
        if asyncio.get_running_loop().time() > end:
            raise StoreError(f"dedupe {key}: {self.stream} did not answer for {_BUDGET:g} s: {problem}")
        await self._bus.wait_connected(_PAUSE)
        await asyncio.sleep(_PAUSE)
