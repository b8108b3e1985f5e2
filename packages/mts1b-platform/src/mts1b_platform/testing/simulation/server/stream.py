"""A stream: stored messages, the memory of message ids, its consumers."""

import copy
import re
from dataclasses import dataclass
from typing import Any, Final

from mts1b_platform.testing.simulation.server.consumer import Consumer
from mts1b_platform.testing.simulation.server.host import SECOND, Host
from mts1b_platform.testing.simulation.server.log import Log, Stored
from mts1b_platform.testing.simulation.server.subjects import tokens_match

_HEADER: Final = re.compile(rb"(?m)^(Nats-[A-Za-z-]+): *(.*?)\r$")


def nats_headers(head: bytes) -> dict[str, str]:
    """The server's own headers of a message, by lower-case name; of one that stands there twice, the first."""
    return {name.decode().lower(): value.decode() for name, value in reversed(_HEADER.findall(head))} if head else {}


@dataclass(slots=True)
class StreamState:
    """What survives a server."""

    config: dict[str, Any]
    created: int
    messages: dict[int, Stored]
    first: int
    last: int
    ids: dict[str, tuple[int, float]]
    consumers: dict[str, Any]


class Stream(Log):
    """A stream of limits retention, discarding old messages."""

    def __init__(self, server: Host, config: dict[str, Any], created: int) -> None:
        super().__init__(server, config["name"])
        self.config, self.created = config, created
        self.patterns = [subject.split(".") for subject in config["subjects"]]
        self.consumers: dict[str, Consumer] = {}
        self.batches: dict[str, list[tuple[str, bytes, bytes]]] = {}
        """Atomic batches that were begun."""
        self._ids: dict[str, tuple[int, float]] = {}
        self._window: float = config.get("duplicate_window", 120 * SECOND) / SECOND
        self._per_subject: int = config.get("max_msgs_per_subject", -1)
        self._of_subject: dict[str, list[int]] = {}
        self.most: int | None = config["max_msgs"] if config.get("discard") == "new" and "max_msgs" in config else None
        """Messages from which on it is full; None when old ones give way."""

    @property
    def is_full(self) -> bool:
        """Whether it takes no more."""
        return self.most is not None and len(self.messages) >= self.most >= 0

    def stores(self, tokens: list[str]) -> bool:
        """Whether it stores this subject."""
        return any(tokens_match(pattern, tokens) for pattern in self.patterns)

    def known(self, message_id: str) -> int | None:
        """The sequence of a message with this id, as far as the window goes back."""
        found = self._ids.get(message_id)
        return found[0] if found is not None and self.server.now() - found[1] <= self._window else None

    @property
    def last_id(self) -> str:
        """The id of the last message that had one."""
        return next(reversed(self._ids), "")

    def last_of(self, subject: str) -> Stored | None:
        """The last message of a subject."""
        seqs = self._of_subject.get(subject)
        return self.messages[seqs[-1]] if seqs else None

    def append(self, subject: str, head: bytes, data: bytes, headers: dict[str, str]) -> int:
        """Store a message; returns its sequence."""
        self.last = seq = self.last + 1
        message = self.messages[seq] = Stored(seq, subject, subject.split("."), head, data, self.server.wall_ns())
        if message_id := headers.get("nats-msg-id"):
            self._ids.pop(message_id, None)
            self._ids[message_id] = (seq, self.server.now())
        if ttl := headers.get("nats-ttl"):
            self.server.at(self.server.now() + float(ttl.removesuffix("s")), self.remove, seq)
        for consumer in self.consumers.values():
            consumer.stored(message)
        mine = self._of_subject.setdefault(subject, [])
        mine.append(seq)
        if 0 < self._per_subject < len(mine):
            self.remove(mine[0])
        return seq

    def remove(self, seq: int) -> None:
        """Take a message off."""
        message = self.messages.pop(seq, None)
        if message is None:
            return
        mine = self._of_subject[message.subject]
        mine.remove(seq)
        if not mine:
            del self._of_subject[message.subject]
        while self.first <= self.last and self.first not in self.messages:
            self.first += 1
        for consumer in self.consumers.values():
            consumer.removed(message)

    def close(self) -> None:
        """It was deleted, with its consumers."""
        for consumer in self.consumers.values():
            consumer.close("409 Consumer Deleted")

    def info(self, subjects_filter: str = "") -> dict[str, Any]:
        """As ``STREAM.INFO`` tells."""
        state: dict[str, Any] = {
            "messages": len(self.messages),
            "first_seq": self.first if self.last else 0,
            "last_seq": self.last,
            "consumer_count": len(self.consumers),
        }
        if subjects_filter:
            wanted = subjects_filter.split(".")
            found = {
                name: len(seqs) for name, seqs in self._of_subject.items() if tokens_match(wanted, name.split("."))
            }
            if found:
                state["subjects"] = found
        return {"config": self.config, "created": str(self.created), "state": state}

    def snapshot(self, *, as_written: bool = False) -> StreamState:
        """All that survives; consumers as their files have them when ``as_written``."""
        return StreamState(
            self.config,
            self.created,
            dict(self.messages),
            self.first,
            self.last,
            dict(self._ids),
            {
                name: consumer.written if as_written and consumer.written is not None else consumer.snapshot()
                for name, consumer in self.consumers.items()
            },
        )

    @classmethod
    def restore(cls, server: Host, state: StreamState) -> "Stream":
        """A stream as it was."""
        made = cls(server, state.config, state.created)
        made.messages = dict(state.messages)
        made.first, made.last = state.first, state.last
        made._ids = dict(state.ids)
        for seq, message in made.messages.items():
            made._of_subject.setdefault(message.subject, []).append(seq)
            if b"Nats-TTL" in message.head:
                ends = message.at / SECOND + float(nats_headers(message.head)["nats-ttl"].removesuffix("s"))
                server.at(server.now() + ends - server.wall_ns() / SECOND, made.remove, seq)
        for name, consumer in state.consumers.items():
            made.consumers[name] = Consumer.restore(made, copy.deepcopy(consumer))
        return made
