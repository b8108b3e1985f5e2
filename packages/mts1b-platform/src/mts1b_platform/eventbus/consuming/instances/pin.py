"""The pin of one instance: whether it is the one that is handed events, and for how long that is certain.

The server keeps a pin for ``takeover`` seconds after the last pull that named it, whatever else happens: acks, a
message that is at work, a pull that waits do not count. So a small pull that delivers nothing goes out three times in
that time.

Fencing: the server tells nobody that he has lost the pin before his next pull, and a process that stood still does not
know that it did. What it knows is when it sent the last pull that the server has answered, by the monotonic clock. When
that is ``takeover`` seconds ago the pin counts as lost here, not later than at the server; that is looked at before a
pull goes out, and before each event is handed out.
"""

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from mts1b_platform.eventbus.connection.client import BusClient
from mts1b_platform.eventbus.errors import BusError
from mts1b_platform.eventbus.protocol.frames import pub_frame
from mts1b_platform.eventbus.protocol.headers import HeaderError
from mts1b_platform.eventbus.protocol.pins import PIN_GROUP, PIN_LOST
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.eventbus.consumer")

_REMEMBERED: Final = 16
"""Pins that were lost here: what comes late under one of them is not taken."""
_SIGNS: Final = 3
"""Signs of life within ``takeover``."""


class Pin:
    """The pin of this instance on one durable.

    Args:
        client: the connection.
        stream: name of the stream.
        durable: name of its consumer, which is a pinned one.
        takeover: seconds for which the server keeps a pin without a sign of life.
    """

    def __init__(self, client: BusClient, stream: str, durable: str, takeover: float) -> None:
        self.takeover = takeover
        self.id = ""
        """As the server names it; empty while another has the pin, or nobody."""
        self.term = 0
        """The number of this time in office; 0 until it has begun."""
        self.why = "it has just begun"
        """Why there is no pin."""
        self.flaps = 0
        """How often a pin was lost that was not given back."""
        self.listeners: list[Callable[[], None]] = []
        """Called whenever :attr:`id` has changed; must not block."""
        self.doubt: Callable[[], None] = _nothing
        """To be called when the server may have forgotten the pin."""
        self._client = client
        self._durable = durable
        self._pull = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}"
        self._unpin = f"$JS.API.CONSUMER.UNPIN.{stream}.{durable}".encode()
        self._until = 0.0
        self._stale: deque[str] = deque(maxlen=_REMEMBERED)
        self._adopted = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._left = False

    @property
    def holds(self) -> bool:
        """Whether an event may be handed out now."""
        return self.term > 0 and time.monotonic() < self._until

    @property
    def lapsed(self) -> bool:
        """Whether there is a pin that may be another's by now."""
        return self._until > 0.0 and time.monotonic() >= self._until

    @property
    def confirmed(self) -> bool:
        """Whether the server has answered a pull with this pin, not long ago."""
        return time.monotonic() < self._until

    def fields(self) -> dict[str, Any]:
        """What a pull says of the pin."""
        return {"group": PIN_GROUP, "id": self.id} if self.id else {"group": PIN_GROUP}

    async def adopted(self) -> str:
        """Wait for a pin; its id."""
        await self._adopted.wait()
        return self.id

    # Having it, and losing it.

    def admits(self, pin: str) -> bool:
        """Whether a message that came under ``pin`` is for this instance now; a new pin is taken."""
        if self._left or not pin or pin in self._stale:
            return False
        if pin != self.id:
            if self.id:
                self.lose("the server gave it anew")
            self._adopt(pin)
        return True

    def begin(self, term: int) -> None:
        """Events are handed out from now on."""
        self.term = term
        log.info("active: this instance is handed the events", durable=self._durable, term=term)

    def lose(self, why: str) -> None:
        """It is another's, or may be."""
        if not self.id:
            return
        if self.term:
            self.flaps += 1
            log.warning("standby: this instance is not handed events any more", durable=self._durable, why=why)
        self._stale.append(self.id)
        self.id, self.term, self._until, self.why = "", 0, 0.0, why
        self._adopted.clear()
        self._tell()

    def check(self) -> None:
        """Lose it when it may be another's by now."""
        if self.lapsed:
            self.lose(f"it stood still, or heard nothing of the server, for {self.takeover:g} s")

    def give_back(self) -> None:
        """Let another have it at once; what is open was answered before."""
        pin, self.term = self.id, 0
        if not pin:
            return
        try:
            self._client.connection.send(pub_frame(self._unpin, json.dumps({"group": PIN_GROUP}).encode()))
        except BusError as error:
            log.debug("the pin is not given back; it is over by itself", durable=self._durable, error=str(error))
        self.lose("it was given back")

    def end(self) -> None:
        """Give it back, and take none any more."""
        self._left = True
        self.give_back()
        self.close()

    def close(self) -> None:
        """End without a word to the server."""
        self._left = True
        if self._keeper is not None:
            self._keeper.cancel()

    def _adopt(self, pin: str) -> None:
        self.id = pin
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep(), name=f"pin of {self._durable}")
        self._tell()
        self._adopted.set()

    def _tell(self) -> None:
        for listener in self.listeners:
            listener()

    # Keeping it.

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self.takeover / _SIGNS)
            self.check()
            if self.id:
                await self.renew()

    async def renew(self) -> bool:
        """Send a sign of life; says whether the server has answered that the pin is ours."""
        pin, sent = self.id, time.monotonic()
        body = {"batch": 1, "max_bytes": 1, "expires": 1_000_000, "group": PIN_GROUP, "id": pin}
        try:
            answer = await self._client.connection.request(
                self._pull, json.dumps(body).encode(), timeout=self.takeover / _SIGNS
            )
            status, words = answer.headers.status, answer.headers.description.lower()
        except (BusError, HeaderError) as error:
            log.debug("no answer to a sign of life", durable=self._durable, error=str(error))
            return False
        if self.id != pin:
            return False
        if status == PIN_LOST:
            self.lose("the server has given it to another")
        elif status == 408 or (status == 409 and "maxbytes" in words):
            self._until = sent + self.takeover
            return True
        return False


def _nothing() -> None:
    """Nobody asks the server yet."""
