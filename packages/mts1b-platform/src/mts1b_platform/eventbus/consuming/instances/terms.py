"""The terms of office of one durable's readers: numbers that grow with each takeover, whoever takes over.

Each new one is stored before it is used. It is the milliseconds since 1970 or, where that is not more than the one
before, the next number: so it grows while the bucket that holds it is there, whatever the clocks say, and where the
bucket was lost as well, unless a clock goes back at the same time. Who took it stands behind it, for people.
"""

import asyncio
import time
from typing import Final

from mts1b_platform.eventbus.connection.client import BusClient
from mts1b_platform.eventbus.dedupe.cells import Cells, Conflict
from mts1b_platform.eventbus.dedupe.kv import BUCKET, KvDedupe
from mts1b_platform.eventbus.errors import BusError
from mts1b_platform.eventbus.jetstream.in_office import read_term, term_key
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.eventbus.consumer")

_PATIENCE: Final = 2.0
"""Seconds for the bucket to answer."""


class Terms:
    """The terms of the durable ``durable`` on ``stream``, as ``member`` takes them."""

    def __init__(self, client: BusClient, stream: str, durable: str, member: str) -> None:
        self._client = client
        self._durable = durable
        self._member = member
        self._name = term_key(stream, durable)
        self._cells: Cells | None = None
        self._last = 0

    async def next(self, above: int = 0) -> int:
        """A new term, greater than every one before and than ``above``.

        Where the bucket cannot be used it is a time only, and the log says so.
        """
        self._last = max(self._last, above)
        try:
            async with asyncio.timeout(_PATIENCE):
                self._last = await self._stored()
        except (BusError, TimeoutError) as error:
            self._last = _after(self._last)
            log.warning(
                "the term of office cannot be stored: it is the time only",
                durable=self._durable,
                bucket=BUCKET,
                term=self._last,
                error=str(error) or type(error).__name__,
            )
        return self._last

    async def _stored(self) -> int:
        if self._cells is None:
            await KvDedupe(self._client).ensure_bucket()
            self._cells = Cells(self._client, BUCKET)
        while True:
            cell = await self._cells.read(self._name)
            before, _ = read_term(cell.value if cell is not None else b"")
            term = _after(max(before, self._last))
            value = f"{term} {self._member}".encode()
            try:
                await self._cells.write(self._name, value, cell.revision if cell else 0)
            except Conflict:
                continue
            return term


def _after(term: int) -> int:
    return max(term + 1, int(time.time() * 1000))
