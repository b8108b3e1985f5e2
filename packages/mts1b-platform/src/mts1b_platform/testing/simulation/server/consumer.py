"""A pull consumer: what is delivered to whom, and what is redelivered when.

Follows the server's ``consumer.go``; methods are named after its functions where they have one.
"""

import json
import math
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

from mts1b_platform.testing.simulation.server.host import SECOND
from mts1b_platform.testing.simulation.server.log import Log, Stored
from mts1b_platform.testing.simulation.server.pulls import PIN_MISMATCH, BadPull, Pins, Pull, WaitingPulls
from mts1b_platform.testing.simulation.server.subjects import tokens_match

_DEFAULTS: Final[dict[str, Any]] = {
    "deliver_policy": "all",
    "max_deliver": -1,
    "max_waiting": 512,
    "max_ack_pending": 1000,
    "replay_policy": "instant",
    "num_replicas": 0,
    "ack_wait": 30 * SECOND,
}
_LATE: Final = 0.001
"""Seconds that a timer fires late: what ends together is handled together."""
_FIRST_CHECK: Final = (0.5, 1.5)
"""Seconds after its start when a server first looks for deliveries whose ack wait is over."""
_WRITTEN_AFTER: Final = 0.15
"""Seconds until a change of a consumer's state is in its file."""


@dataclass(slots=True)
class ConsumerState:
    """What survives a server."""

    config: dict[str, Any]
    delivery: int
    seq: int
    floor_delivery: int
    floor_seq: int
    pending: dict[int, list[float]]
    redelivered: dict[int, int]


class Consumer:
    """One durable."""

    def __init__(self, stream: Log, config: dict[str, Any]) -> None:
        self.stream, self.server = stream, stream.server
        self.config = _DEFAULTS | config
        self.name: str = self.config["name"]
        self.configure(self.config)
        self.delivery = 1
        """Consumer sequence of the next delivery."""
        self.seq = 1
        """Stream sequence of the next new message."""
        self.floor_delivery = self.floor_seq = 0
        self.pending: dict[int, list[float]] = {}
        """Delivered and not acknowledged: by sequence the first delivery's number and the time of the last one."""
        self.redelivered: dict[int, int] = {}
        """How often a message was delivered beyond the first time."""
        self.queue: deque[int] = deque()
        """Sequences to redeliver."""
        self.pulls = WaitingPulls(self.server)
        timeout = self.config.get("priority_timeout", 0) / SECOND
        pinned = self.config.get("priority_policy") == "pinned_client"
        self.pins = Pins(self.server, timeout, self.signal) if pinned else None
        self.written: ConsumerState | None = None
        """Its file; None while nothing is written."""
        self._pending_new = 0
        self._writing = False
        self._closed = False
        self._signalled = False
        self._pending_due = self._pulls_due = math.inf
        if self.config["deliver_policy"] == "new":
            self.seq, self.floor_seq = stream.last + 1, stream.last
        self._count_new()

    def configure(self, config: dict[str, Any]) -> None:
        """Take a changed configuration."""
        self.config = config
        filters: list[str] = config.get("filter_subjects") or [config.get("filter_subject", "")]
        self._filters = [each.split(".") for each in filters if each]
        self.ack_wait: float = config["ack_wait"] / SECOND
        self._max_pending: int = config["max_ack_pending"]
        self._max_deliver: int = config["max_deliver"]

    def snapshot(self) -> ConsumerState:
        pending = {seq: list(entry) for seq, entry in self.pending.items()}
        return ConsumerState(
            self.config, self.delivery, self.seq, self.floor_delivery, self.floor_seq, pending, dict(self.redelivered)
        )

    @classmethod
    def restore(cls, stream: Log, state: ConsumerState) -> "Consumer":
        made = cls(stream, state.config)
        made.delivery, made.seq = state.delivery, state.seq
        made.floor_delivery, made.floor_seq = state.floor_delivery, state.floor_seq
        made.pending, made.redelivered = state.pending, state.redelivered
        offset = made.server.world.wall_offset
        for entry in made.pending.values():
            entry[1] = math.floor(entry[1] + offset) - offset  # a file tells whole seconds
        made.written = made.snapshot()
        made._count_new()
        if made.pending:
            made._pending_timer(made.server.now() + min(made.ack_wait, made.server.world.rng.uniform(*_FIRST_CHECK)))
        return made

    # What it tells.

    def wants(self, message: Stored) -> bool:
        return not self._filters or any(tokens_match(each, message.tokens) for each in self._filters)

    @property
    def done(self) -> bool:
        """Whether everything stored was delivered and acknowledged."""
        return not self._pending_new and not self.pending

    def info(self) -> dict[str, Any]:
        """As ``CONSUMER.INFO`` tells."""
        group = {"group": (self.config.get("priority_groups") or [""])[0]}
        if self.pins is not None and self.pins.id:
            group["pinned_client_id"] = self.pins.id
        return ({} if self.pins is None else {"priority_groups": [group]}) | {
            "type": "io.nats.jetstream.api.v1.consumer_info_response",
            "stream_name": self.stream.name,
            "name": self.name,
            "config": self.config,
            "delivered": {"consumer_seq": self.delivery - 1, "stream_seq": self.seq - 1},
            "ack_floor": {"consumer_seq": self.floor_delivery, "stream_seq": self.floor_seq},
            "num_ack_pending": len(self.pending),
            "num_redelivered": len(self.redelivered),
            "num_waiting": len(self.pulls),
            "num_pending": self._pending_new,
        }

    def _count_new(self) -> None:
        messages = self.stream.messages.values()
        self._pending_new = sum(message.seq >= self.seq and self.wants(message) for message in messages)

    # What happens to its stream.

    def stored(self, message: Stored) -> None:
        if self.wants(message):
            self._pending_new += 1
            if len(self.pulls):
                self.signal()

    def removed(self, message: Stored) -> None:
        if message.seq >= self.seq and self.wants(message):
            self._pending_new -= 1

    # Pulls.

    def pull(self, inbox: str, body: bytes) -> None:
        """A client asks for messages."""
        try:
            pull = Pull.parse(inbox, body, self.server.now())
        except BadPull as bad:
            self.pulls.say(inbox, str(bad))
            return
        if self.pins is not None:
            if not pull.group:
                self.pulls.say(inbox, "400 Bad Request - Priority Group missing")
                return
            if self.pins.id and pull.pin:
                if pull.pin != self.pins.id:
                    self.pulls.say(inbox, PIN_MISMATCH)
                    return
                self.pins.keep()
        if pull.no_wait and pull.expires == math.inf and not self._pending_new and not self.queue:
            self.pulls.say(inbox, "404 No Messages")
        elif len(self.pulls) >= self.config["max_waiting"]:
            if not pull.heartbeat:
                self.pulls.say(inbox, "409 Exceeded MaxWaiting")
        else:
            self.pulls.add(pull)
            self.signal()

    def signal(self) -> None:
        """Have the delivery loop run, which is another goroutine in the server: a moment later."""
        if not self._signalled and not self._closed:
            self._signalled = True
            self.server.soon(self._deliver)

    def _deliver(self) -> None:
        """``loopAndGatherMsgs``."""
        self._signalled = False
        if self._closed:
            return
        limited = False
        while len(self.pulls):
            message, count, limited = self._next_message()
            if message is None:
                break
            size = len(message.subject) + len(message.head) + len(message.data)
            pull = self.pulls.next(size, self.pins)
            if pull is None:
                self._put_back(message, count)
                break
            self._hand_out(message, count, pull)
        self.pulls.look(nothing_left=not limited, last_delivery=self.delivery - 1, last_seq=self.seq - 1)
        due = self.pulls.due()
        if due < self._pulls_due:
            self._pulls_due = due
            self.server.at(due + 0.0005, self._pulls_are_due, due)

    def _pulls_are_due(self, due: float) -> None:
        if due == self._pulls_due:
            self._pulls_due = math.inf
            self.signal()

    def _hand_out(self, message: Stored, count: int, pull: Pull) -> None:
        now = self.server.now()
        if pull.left > 0 and pull.heartbeat:
            pull.next_heartbeat = now + pull.heartbeat
        delivery, self.delivery = self.delivery, self.delivery + 1
        if (entry := self.pending.get(message.seq)) is not None:
            entry[1] = now  # the number stays that of the first delivery
        else:
            self.pending[message.seq] = [delivery, now]
        self._changed()
        self._pending_timer(now + self.ack_wait)
        reply = (
            f"$JS.ACK.{self.stream.name}.{self.name}.{count}.{message.seq}.{delivery}.{message.at}.{self._pending_new}"
        )
        head = message.head
        if self.pins is not None:
            head = (head or b"NATS/1.0\r\n\r\n")[:-2] + f"Nats-Pin-Id: {self.pins.id}\r\n\r\n".encode()
        self.server.interest.route(pull.inbox, reply, head, message.data, shown=message.subject)

    def _put_back(self, message: Stored, count: int) -> None:
        """Nobody listens to any pull: a new message is new again, a redelivered one goes to the end of the queue."""
        if count == 1:
            self.seq = message.seq
            self._pending_new += 1
        elif message.seq not in self.queue:
            if count == 2:
                del self.redelivered[message.seq]
            else:
                self.redelivered[message.seq] -= 1
            self.queue.append(message.seq)

    def _next_message(self) -> tuple[Stored | None, int, bool]:
        """``getNextMsg``: the next message, which delivery of it this is, and whether too many are pending."""
        while self.queue:
            seq = self.queue.popleft()
            message = self.stream.messages.get(seq)
            if message is None:
                self._forget(seq)
                continue
            count = self.redelivered.get(seq, 0) + 1
            if 0 < self._max_deliver <= count:
                self._forget(seq)
                continue
            self.redelivered[seq] = count
            return message, count + 1, False
        if 0 < self._max_pending <= len(self.pending):
            return None, 0, True
        while self.seq <= self.stream.last:
            message = self.stream.messages.get(self.seq)
            self.seq += 1
            if message is not None and self.wants(message):
                self._pending_new -= 1
                return message, 1, False
        return None, 0, False

    def _forget(self, seq: int) -> None:
        if (entry := self.pending.pop(seq, None)) is not None:
            self._move_floor(int(entry[0]), seq)
        self.redelivered.pop(seq, None)
        self._changed()

    # Ack wait.

    def _pending_timer(self, when: float) -> None:
        if when < self._pending_due:
            self._pending_due = when
            self.server.at(when + _LATE, self._check_pending, when)

    def _check_pending(self, when: float) -> None:
        """``checkPending``: queue what was not acknowledged in time, in the order of the stream."""
        if when != self._pending_due or self._closed:
            return
        self._pending_due = math.inf
        now, soonest, expired = self.server.now(), self.ack_wait, list[int]()
        queued = set(self.queue)
        for seq, (delivery, since) in list(self.pending.items()):
            if seq < self.stream.first or seq <= self.floor_seq:
                self.pending.pop(seq)
                self.redelivered.pop(seq, None)
                self._unqueue(seq)
                self.floor_seq, self.floor_delivery = max(self.floor_seq, seq), max(self.floor_delivery, int(delivery))
            elif now - since < self.ack_wait - 1e-9:
                soonest = min(soonest, self.ack_wait - (now - since))
            elif seq in queued:
                continue
            elif 0 < self._max_deliver <= self.redelivered.get(seq, 0) + 1:
                self.pending.pop(seq)  # the ack floor stays where it is
                self._advise("MAX_DELIVERIES", stream_seq=seq, deliveries=self._max_deliver)
            else:
                expired.append(seq)
        if expired:
            expired.sort()
            late = now - self.pending[expired[0]][1]
            for seq in expired:
                self.pending[seq][1] += late
            self.queue.extend(expired)
            self.signal()
        if self.pending:
            self._pending_timer(now + soonest)
        else:
            self.queue.clear()
        self._changed()

    # Answers of clients.

    def answered(self, count: int, seq: int, delivery: int, body: bytes) -> bool:
        """``processAck``; says whether the answer is confirmed to who wants that."""
        if self._closed or seq > self.stream.last:
            return False
        word = body.strip()
        if word in {b"", b"+ACK", b"+OK"}:
            self._acked(seq)
        elif word.startswith(b"-NAK"):
            self._naked(seq, delivery, word[4:].strip())
        elif word.startswith(b"+WPI"):
            if (entry := self.pending.get(seq)) is not None:
                entry[1] = self.server.now()
        elif word.startswith(b"+TERM"):
            self._acked(seq)
            reason = word[5:].strip().decode()
            self._advise("MSG_TERMINATED", stream_seq=seq, deliveries=count, reason=reason)
        return True

    def _advise(self, kind: str, **facts: Any) -> None:
        """Publish an advisory."""
        subject = f"$JS.EVENT.ADVISORY.CONSUMER.{kind}.{self.stream.name}.{self.name}"
        facts |= {"stream": self.stream.name, "consumer": self.name}
        self.server.interest.route(subject, "", b"", json.dumps(facts).encode())

    def _acked(self, seq: int) -> None:
        """``ackMsgLocked``: an ack of any earlier delivery counts."""
        if seq >= self.seq:
            return
        full = 0 < self._max_pending <= len(self.pending)
        if (entry := self.pending.pop(seq, None)) is not None:
            self._move_floor(int(entry[0]), seq)
            if full:
                self.signal()
        self.redelivered.pop(seq, None)
        self._unqueue(seq)
        self._changed()

    def _move_floor(self, delivery: int, seq: int) -> None:
        if not self.pending:
            self.floor_delivery, self.floor_seq = self.delivery - 1, self.seq - 1
        elif delivery == self.floor_delivery + 1:
            self.floor_delivery, self.floor_seq = delivery, seq
            for later in range(seq + 1, self.seq):
                if later in self.pending:
                    self.floor_delivery, self.floor_seq = int(self.pending[later][0]) - 1, later - 1
                    break

    def _naked(self, seq: int, delivery: int, argument: bytes) -> None:
        """``processNak``: to the end of the queue, or as if its ack wait ended when the delay is over."""
        if delivery <= self.floor_delivery or delivery > self.delivery or seq not in self.pending:
            return
        if argument:
            delay = json.loads(argument)["delay"] / SECOND
            self._unqueue(seq)
            self.pending[seq][1] = self.server.now() - self.ack_wait + delay
            self._pending_timer(self.server.now() + 0.01)
            return
        if seq not in self.queue:
            self.queue.append(seq)
        self.signal()

    def _unqueue(self, seq: int) -> None:
        if seq in self.queue:
            self.queue.remove(seq)

    def lose_pin(self) -> None:
        """Somebody has taken it away, or the leader that knew it is gone."""
        if self.pins is not None and self.pins.id:
            self.pins.take()

    # Its end, and its file.

    def close(self, words: str = "") -> None:
        """It was deleted, or its leader went away."""
        self._closed = True
        self.lose_pin()
        self.pulls.end_all(words, counts=False)

    def _changed(self) -> None:
        if self.server.keeps_files and not self._writing:
            self._writing = True
            self.server.at(self.server.now() + _WRITTEN_AFTER, self._write)

    def _write(self) -> None:
        self._writing = False
        self.written = self.snapshot()
