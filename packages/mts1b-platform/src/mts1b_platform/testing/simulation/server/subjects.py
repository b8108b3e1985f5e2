"""Who is interested in what: subscriptions, queue groups, and where a message goes."""

import random
from typing import Protocol


def tokens_match(pattern: list[str], subject: list[str]) -> bool:
    """Whether ``subject`` is matched by ``pattern``, both split at their dots."""
    for at, token in enumerate(pattern):
        if token == ">":
            return len(subject) > at
        if at >= len(subject) or (token != "*" and token != subject[at]):
            return False
    return len(pattern) == len(subject)


class Receiver(Protocol):
    """A client's session."""

    def send(self, data: bytes) -> None:
        """Write ``data`` to the client."""
        ...

    def forget(self, subscription: "Subscription") -> None:
        """The subscription is over."""
        ...


class Subscription:
    """One SUB of one session."""

    __slots__ = ("left", "queue", "sid", "subject", "to", "tokens")

    def __init__(self, to: Receiver, sid: bytes, subject: str, queue: str) -> None:
        self.to, self.sid, self.subject, self.queue = to, sid, subject, queue
        self.tokens = subject.split(".")
        self.left: int | None = None
        """Messages until it ends by itself."""


class Interest:
    """All subscriptions of the server."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._all: list[Subscription] = []
        self._found: dict[str, list[Subscription]] = {}

    def add(self, subscription: Subscription) -> None:
        self._all.append(subscription)
        self._found.clear()

    def remove(self, subscription: Subscription) -> None:
        if subscription in self._all:
            self._all.remove(subscription)
            self._found.clear()
        subscription.to.forget(subscription)

    def clear(self) -> None:
        self._all.clear()
        self._found.clear()

    def of(self, subject: str) -> list[Subscription]:
        """The subscriptions that match ``subject``."""
        found = self._found.get(subject)
        if found is None:
            tokens = subject.split(".")
            if len(self._found) > 5000:
                self._found.clear()
            found = self._found[subject] = [each for each in self._all if tokens_match(each.tokens, tokens)]
        return found

    def route(self, to: str, reply: str, head: bytes, data: bytes, *, shown: str = "") -> int:
        """Deliver a message; returns how many received it.

        Args:
            to: where it goes.
            reply: its reply subject.
            head: its header block.
            data: its payload.
            shown: the subject that receivers see, where it is another: a stored message that a pull is answered with.
        """
        found = self.of(to)
        if not found:
            return 0
        if len(found) == 1:
            self._deliver(found[0], shown or to, reply, head, data)
            return 1
        count, groups = 0, dict[str, list[Subscription]]()
        for each in list(found):
            if each.queue:
                groups.setdefault(each.queue, []).append(each)
            else:
                self._deliver(each, shown or to, reply, head, data)
                count += 1
        for members in groups.values():
            self._deliver(self._rng.choice(members), shown or to, reply, head, data)
        return count + len(groups)

    def _deliver(self, to: Subscription, subject: str, reply: str, head: bytes, data: bytes) -> None:
        where = f"{subject} {to.sid.decode()} {reply} " if reply else f"{subject} {to.sid.decode()} "
        sizes = f"{len(head)} {len(head) + len(data)}" if head else f"{len(data)}"
        line = f"{'HMSG' if head else 'MSG'} {where}{sizes}\r\n"
        to.to.send(b"%b%b%b\r\n" % (line.encode(), head, data))
        if to.left is not None:
            to.left -= 1
            if to.left <= 0:
                self.remove(to)
