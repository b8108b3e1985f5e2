"""Pulling from a pinned durable: the pulls name the pin while there is one, and what comes under another is not taken.

A pull that was sent under another pin, or without one, counts no more once there is one: the server leaves it waiting,
or refuses it.
"""

from contextlib import suppress
from typing import Any, Final

from mts1b_platform.eventbus.connection.connection import Connection
from mts1b_platform.eventbus.consuming.instances.pin import Pin
from mts1b_platform.eventbus.consuming.pulls import PullSubscription
from mts1b_platform.eventbus.errors import BusError
from mts1b_platform.eventbus.protocol.acks import nak_frame
from mts1b_platform.eventbus.protocol.headers import HeaderError
from mts1b_platform.eventbus.protocol.message import RawMsg, WireMsg
from mts1b_platform.eventbus.protocol.pins import PIN_LOST, pin_of

_SHARE: Final = 2
"""A pull ends within this part of the takeover."""


class PinnedPulls(PullSubscription):
    """As :class:`PullSubscription`, for an instance among several.

    Args:
        connection: the connection.
        stream: name of the stream.
        durable: name of its consumer, which is a pinned one.
        pin: of this instance.
        options: further ones of :class:`PullSubscription`.
    """

    def __init__(self, connection: Connection, stream: str, durable: str, *, pin: Pin, **options: Any) -> None:
        self._pin = pin
        self._void = 0
        """The last pull that counts no more."""
        self._looking = self._changed = False
        """Whether the pins of what arrived are looked at, and whether that has changed ours."""
        expires = pin.takeover / _SHARE
        super().__init__(connection, stream, durable, expires=expires, heartbeat=expires / 2, **options)
        self._patience = 2 * expires
        pin.listeners.append(self._pin_changed)

    async def stop(self) -> list[RawMsg]:
        """Ask for nothing more; returns what arrived meanwhile, for the caller to nak."""
        if self._pin_changed in self._pin.listeners:
            self._pin.listeners.remove(self._pin_changed)
        return await super().stop()

    def _pull(self) -> dict[str, Any]:
        # No heartbeat: the server sends none to who waits for the pin, and a pull ends soon.
        return {"batch": self._size, "expires": int(self._expires * 1e9)} | self._pin.fields()

    def _pin_changed(self) -> None:
        if self._looking:
            self._changed = True
        else:
            self._begin_anew(0)
            self._refill()

    def _begin_anew(self, arrived: int) -> None:
        """What was asked for before counts no more; ``arrived`` of it are about to be taken in."""
        self._void = self._pulled
        self._outstanding = arrived
        self._shape(self._window)

    def _refill(self) -> None:
        self._pin.check()  # a pull would make it forgotten that this process stood still
        super()._refill()

    def _take(self, batch: list[RawMsg]) -> None:
        self._looking, self._changed = True, False
        try:
            ours = [msg for msg in batch if not msg[1] or self._is_ours(msg)]
        finally:
            self._looking = False
        if self._changed:  # more is asked for once these are counted
            self._begin_anew(sum(bool(msg[1]) for msg in ours))
        super()._take(ours)

    def _is_ours(self, msg: RawMsg) -> bool:
        pin = pin_of(msg[2])
        if self._pin.admits(pin):
            return True
        if not pin:  # a pull that has waited since before the durable was pinned
            with suppress(BusError):  # it comes again by itself
                self._connection.send(nak_frame(msg[1]))
        return False

    def _status(self, msg: WireMsg) -> None:
        number = msg.subject[len(self._inbox) :]
        if number.isdigit() and int(number) <= self._void:
            return
        try:
            lost = msg.headers.status == PIN_LOST
        except HeaderError:
            return
        if lost:
            self._pin.lose("the server has given it to another")
            return
        super()._status(msg)
        if self._retry is not None:  # another leader, or none: it knows no pin
            self._pin.doubt()
