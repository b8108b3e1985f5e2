"""The pulls that wait at a consumer: whose turn it is, heartbeats, what is said when one ends."""

import json
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Self

from mts1b_platform.testing.simulation.server.host import SECOND, Host

PIN_MISMATCH: Final = "423 Nats-Pin-Id mismatch"
"""Said to a pull that comes; to one that waits :data:`WRONG_PIN` is."""
WRONG_PIN: Final = "423 Nats-Wrong-Pin-Id"
HEARTBEAT_TOO_LARGE: Final = "400 Bad Request - heartbeat value too large"


class BadPull(Exception):
    """The request cannot be understood; its words are the status line."""


@dataclass(slots=True)
class Pull:
    """One request for messages."""

    inbox: str
    left: int
    """Messages still wanted."""
    expires: float
    heartbeat: float
    next_heartbeat: float
    no_wait: bool
    most_bytes: int = 0
    """Bytes of the messages still wanted; 0: any number."""
    pin: str = ""
    """Of a pinned consumer: who asks; empty for who waits to be pinned."""
    group: str = ""
    delivered: int = 0

    @classmethod
    def parse(cls, inbox: str, body: bytes, now: float) -> Self:
        """What a request asks for.

        Raises:
            BadPull: it is malformed.
        """
        try:
            request: dict[str, Any] = json.loads(body) if body[:1] == b"{" else {"batch": int(body or b"1")}
        except ValueError:
            words = "invalid character 'n' looking for beginning of object key string"
            raise BadPull(f"400 Bad Request - {words}") from None
        expires, heartbeat = request.get("expires", 0) / SECOND, request.get("idle_heartbeat", 0) / SECOND
        if heartbeat and heartbeat * 2 > expires:
            raise BadPull(HEARTBEAT_TOO_LARGE)
        return cls(
            inbox,
            max(1, request.get("batch", 1)),
            now + expires if expires else math.inf,
            heartbeat,
            now + heartbeat if heartbeat else math.inf,
            bool(request.get("no_wait")),
            request.get("max_bytes", 0),
            request.get("id", ""),
            request.get("group", ""),
        )


class Pins:
    """Who is handed the messages of a pinned consumer: in the leader's memory, gone with it.

    Args:
        server: its host.
        timeout: seconds for which a pin is kept after the last pull that named it.
        free: called when nobody has it any more.
    """

    def __init__(self, server: Host, timeout: float, free: Callable[[], None]) -> None:
        self._server, self._timeout, self._free = server, timeout, free
        self.id = ""
        self._given = 0
        self._due = math.inf

    def give(self, pull: Pull) -> None:
        """``assignNewPinId``."""
        self._given += 1
        self.id = pull.pin = f"PIN{self._given}.{self._server.world.rng.getrandbits(32):x}"
        self.keep()

    def keep(self) -> None:
        """``setPinnedTimer``: who has it has asked."""
        self._due = self._server.now() + self._timeout
        self._server.at(self._due, self._is_due, self._due)

    def take(self) -> None:
        """Nobody has it any more."""
        self.id, self._due = "", math.inf
        self._free()

    def _is_due(self, due: float) -> None:
        if due == self._due:
            self.take()


class WaitingPulls:
    """The queue of pulls, served in turn."""

    def __init__(self, server: Host) -> None:
        self._server = server
        self._queue: deque[Pull] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, pull: Pull) -> None:
        self._queue.append(pull)

    def next(self, size: int, pins: "Pins | None") -> Pull | None:
        """The pull that the next message goes to (``nextWaiting``); those without anybody who listens leave.

        Args:
            size: bytes of the message.
            pins: of a pinned consumer, who has the pin; those that wait for it are passed over.
        """
        now = self._server.now()
        for _ in range(len(self._queue)):
            pull = self._queue.popleft()
            if pull.most_bytes and size > pull.most_bytes:
                self.end(pull, "409 Message Size Exceeds MaxBytes")
            elif now >= pull.expires:
                self.end(pull, "408 Request Timeout")
            elif pins is not None and pull.pin != pins.id and pull.pin:
                self.end(pull, WRONG_PIN)
            elif pins is not None and pins.id and pull.pin != pins.id:
                self._queue.append(pull)
            elif self._server.interest.of(pull.inbox):
                if pins is not None and not pins.id:
                    pins.give(pull)
                pull.left -= 1
                pull.delivered += 1
                if pull.left > 0:
                    self._queue.append(pull)
                return pull
        return None

    def look(self, *, nothing_left: bool, last_delivery: int, last_seq: int) -> None:
        """End what has expired, forget what nobody listens to, say heartbeats."""
        now = self._server.now()
        kept: deque[Pull] = deque()
        for pull in self._queue:
            if now >= pull.expires:
                self.end(pull, "408 Request Timeout")
            elif nothing_left and pull.no_wait and (pull.expires == math.inf or pull.delivered):
                self.say(pull.inbox, "404 No Messages")
            elif self._server.interest.of(pull.inbox):
                if now >= pull.next_heartbeat:
                    last = {"Nats-Last-Consumer": last_delivery, "Nats-Last-Stream": last_seq}
                    self.say(pull.inbox, "100 Idle Heartbeat", last)
                    pull.next_heartbeat = now + pull.heartbeat
                kept.append(pull)
        self._queue = kept

    def due(self) -> float:
        """When the next heartbeat or end of a pull is due."""
        return min((min(pull.next_heartbeat, pull.expires) for pull in self._queue), default=math.inf)

    def end_all(self, words: str, *, counts: bool) -> None:
        """End them all; with ``counts`` each is told what it did not get."""
        queue, self._queue = self._queue, deque()
        for pull in queue:
            if counts:
                self.end(pull, words)
            elif words:
                self.say(pull.inbox, words)

    def end(self, pull: Pull, words: str) -> None:
        self.say(pull.inbox, words, {"Nats-Pending-Messages": pull.left, "Nats-Pending-Bytes": pull.most_bytes})

    def say(self, inbox: str, words: str, fields: dict[str, int] | None = None) -> None:
        """Send a status line."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in (fields or {}).items())
        self._server.interest.route(inbox, "", f"NATS/1.0 {words}\r\n{lines}\r\n".encode(), b"")
