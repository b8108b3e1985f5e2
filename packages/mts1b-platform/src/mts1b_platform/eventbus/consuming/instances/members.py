"""Who else reads for the same group: each member says so every now and then, on a subject of the group.

A member that has said nothing for ``dead`` seconds is gone; one that leaves says so. Who joins listens first and speaks
then, so that nobody gives a key away for one who is not ready. Who has stood still hears the others before he judges.
"""

import asyncio
import json
import secrets
import time
from collections.abc import Callable
from typing import Any, Final

from mts1b_platform.eventbus.connection.client import BusClient
from mts1b_platform.eventbus.connection.subscription import Subscription
from mts1b_platform.eventbus.errors import BusError, ServerUnavailable
from mts1b_platform.eventbus.protocol.frames import pub_frame
from mts1b_platform.eventbus.protocol.message import RawMsg
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.eventbus.consumer")

_BEATS: Final = 8
"""How often a member speaks within ``dead`` seconds."""
_LISTEN: Final = 1.5
"""Beats for which is listened before anything is said or judged."""


class Members:
    """The members of one group, this one among them.

    Args:
        client: the connection.
        subject: where they speak.
        name: of this member; one that it has after a restart too moves no keys when it is back in time.
        dead: seconds of silence after which a member is gone.
        changed: called when somebody has come or gone; must not block.
    """

    def __init__(self, client: BusClient, subject: str, name: str, *, dead: float, changed: Callable[[], None]) -> None:
        self.name = name
        self.beat = dead / _BEATS
        """Seconds between two words of a member."""
        self._client = client
        self._subject = subject
        self._dead = dead
        self._changed = changed
        self._token = secrets.token_hex(4)
        self._heard: dict[str, float] = {}
        self._looked = time.monotonic()
        self._subscription: Subscription | None = None
        self._beating: asyncio.Task[None] | None = None
        self._namesake = False

    async def join(self) -> None:
        """Listen, then speak.

        Raises:
            AccessDenied: this identity may not hear the group.
        """
        self._subscription = self._client.connection.subscribe(self._subject, self._hear)
        while True:
            try:
                await self._client.confirm("subscribe", self._subject)
                break
            except ServerUnavailable as error:  # the connection broke meanwhile; it comes back by itself
                log.debug("the other members are not heard yet", group=self._subject, error=str(error))
                await asyncio.sleep(self.beat)
        await asyncio.sleep(_LISTEN * self.beat)
        self._beating = asyncio.create_task(self._speak(), name=f"member {self.name}")

    async def present(self) -> list[str]:
        """The members that are there now, this one too."""
        if time.monotonic() - self._looked > self._dead:
            await asyncio.sleep(_LISTEN * self.beat)
        self._looked = now = time.monotonic()
        for name in [name for name, at in self._heard.items() if now - at > self._dead]:
            log.info("a member has said nothing for long; it is gone", group=self._subject, member=name)
            del self._heard[name]
        return sorted({self.name, *self._heard})

    def leave(self) -> None:
        """Say that this member has given everything away."""
        self.close()
        self._say(leaves=True)

    def close(self) -> None:
        """End without a word."""
        if self._beating is not None:
            self._beating.cancel()
        if self._subscription is not None and not self._client.is_closed:
            self._subscription.unsubscribe()
            self._subscription = None

    async def _speak(self) -> None:
        while True:
            self._say(leaves=False)
            await asyncio.sleep(self.beat)

    def _say(self, *, leaves: bool) -> None:
        word = {"member": self.name, "token": self._token, "leaves": leaves}
        try:
            self._client.connection.send(pub_frame(self._subject.encode(), json.dumps(word).encode()))
        except BusError as error:
            log.debug("the other members do not hear this one", group=self._subject, error=str(error))

    def _hear(self, batch: list[RawMsg]) -> None:
        for msg in batch:
            try:
                word: dict[str, Any] = json.loads(msg[3])
                name, token, leaves = str(word["member"]), word["token"], word["leaves"]
            except (ValueError, KeyError, TypeError):
                log.warning("something other than a member speaks", group=self._subject)
                continue
            if name == self.name:
                self._meet_namesake(token)
            elif leaves:
                if self._heard.pop(name, None) is not None:
                    self._changed()
            else:
                new = name not in self._heard
                self._heard[name] = time.monotonic()
                if new:
                    self._changed()

    def _meet_namesake(self, token: object) -> None:
        if token != self._token and not self._namesake:
            self._namesake = True
            log.error(
                "another member has the same name: one of the two reads nothing; give each a name of its own",
                group=self._subject,
                member=self.name,
            )
