"""Taking over: what the instance before held comes here at once, and its time in office is over.

When a pin is new, the server is asked whether it is in force; then everything that is delivered, not acknowledged and
not here is called back: the server takes a nak from anybody who knows the sequence, and delivers again without waiting
for the ack wait. Then a new term is stored. What comes is held meanwhile (``ordering/gap_guard.py``).

Who waits for the pin looks as well. A pin is given with a message only: while what a dead instance held fills the
durable's window, or nothing new is published, nothing would be delivered before the ack wait is over. When nobody has
the pin at two looks, one after the other, and something is under way, it is called back.
"""

import asyncio
from collections.abc import Callable, Collection
from typing import Any, Final

from mts1b_platform.eventbus.connection.client import BusClient
from mts1b_platform.eventbus.consuming.instances.pin import Pin
from mts1b_platform.eventbus.consuming.instances.terms import Terms
from mts1b_platform.eventbus.errors import BusError, ConsumeError
from mts1b_platform.eventbus.jetstream.api import ApiError, js_api
from mts1b_platform.eventbus.jetstream.consumer_state import ConsumerState, gone
from mts1b_platform.eventbus.protocol.error_codes import ErrorCode
from mts1b_platform.eventbus.protocol.frames import pub_frame
from mts1b_platform.eventbus.protocol.pins import pinned_client
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.eventbus.consumer")

_MOST: Final = 100_000
"""Sequences that are swept for what to call back; beyond, the ack wait is waited for."""
_AT_A_TIME: Final = 500
_LOOK: Final = 0.6
_LOOK_AGAIN: Final = 0.2
"""Seconds between two looks of who waits; to be sure, after the first that shows that nobody has the pin."""


class NotPinned(ConsumeError):
    """This instance has lost the pin meanwhile."""


class Takeover:
    """What one instance does about taking over.

    Args:
        client: the connection.
        stream: name of the stream.
        durable: name of its consumer, which is a pinned one.
        pin: of this instance.
        member: the name of this instance, for people.
        here: sequences of what is in this process.
        began: called when a term has begun.
    """

    def __init__(
        self,
        client: BusClient,
        stream: str,
        durable: str,
        pin: Pin,
        member: str,
        *,
        here: Callable[[], Collection[int]],
        began: Callable[[], None],
    ) -> None:
        self._client = client
        self._stream, self._durable = stream, durable
        self._pin = pin
        self._here = here
        self._began = began
        self._terms = Terms(client, stream, durable, member)
        self._looking = asyncio.create_task(self._look(), name=f"wait for the pin of {durable}")

    def close(self) -> None:
        """End."""
        self._looking.cancel()

    async def state(self) -> ConsumerState:
        """Where the durable stands, once this instance has the pin and has taken over.

        Raises:
            NotPinned: it has lost the pin meanwhile.
            ConsumerGone: the durable was deleted.
            JetStreamUnavailable: nobody answered.
        """
        pin = await self._pin.adopted()
        if not self._pin.confirmed and not await self._pin.renew():
            raise NotPinned(f"durable {self._durable!r}: the server does not confirm the pin")
        info = await self._info()
        if pinned_client(info) != pin:
            if self._pin.id == pin:
                self._pin.lose("the server knows nothing of it")
            raise NotPinned(f"durable {self._durable!r}: another instance is pinned")
        if not self._pin.term:
            await self._call_back(info)
            term = await self._terms.next()
            if self._pin.id != pin:
                raise NotPinned(f"durable {self._durable!r}: the pin was lost while taking over")
            self._pin.begin(term)
            self._began()
        return ConsumerState.of(info)

    async def renew_term(self, above: int) -> None:
        """A store knows the term ``above``, which is greater than ours, though we have the pin: begin a greater one."""
        pin, term = self._pin.id, await self._terms.next(above)
        if self._pin.id == pin and self._pin.term:
            self._pin.begin(max(term, self._pin.term))
            self._began()

    async def _look(self) -> None:
        """Call back what is under way when nobody is pinned, for as long as this instance waits for the pin."""
        free = False
        while True:
            await asyncio.sleep(_LOOK_AGAIN if free else min(_LOOK, self._pin.takeover / 3))
            if self._pin.id:
                free = False
                continue
            try:
                info = await self._info()
                was_free, free = free, not pinned_client(info) and info["num_ack_pending"] > 0
                if free and was_free:
                    free = False
                    await self._call_back(info)
            except BusError as error:  # who reads says so
                log.debug("nobody says who is pinned", durable=self._durable, error=str(error))

    async def _info(self) -> dict[str, Any]:
        try:
            return await js_api(self._client, f"CONSUMER.INFO.{self._stream}.{self._durable}")
        except ApiError as error:
            if error.err_code in (ErrorCode.CONSUMER_NOT_FOUND, ErrorCode.STREAM_NOT_FOUND):
                raise gone(self._stream, self._durable) from None
            raise

    async def _call_back(self, info: dict[str, Any]) -> None:
        """Have everything delivered again that is under way and not here."""
        state = ConsumerState.of(info)
        first, last = state.floor + 1, state.delivered
        if not state.pending or last < first:
            return
        if last - first >= _MOST:
            log.warning(
                "what another instance held is spread too widely to be called back; it comes when the ack wait is over",
                durable=self._durable,
                events=state.pending,
                sequences=last - first + 1,
            )
            return
        here = self._here()
        connection = self._client.connection
        called = 0
        for seq in range(first, last + 1):
            if seq not in here:
                called += 1
                reply = f"$JS.ACK.{self._stream}.{self._durable}.1.{seq}.{state.deliveries}.0.0"
                connection.send(pub_frame(reply.encode(), b"-NAK"))
                if not called % _AT_A_TIME:
                    await asyncio.sleep(0)
                    if connection.above_high_water:
                        await connection.writable()
        log.info("called back what another instance held", durable=self._durable, pending=state.pending, naks=called)
