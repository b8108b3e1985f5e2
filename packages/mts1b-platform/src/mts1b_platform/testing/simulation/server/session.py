"""The server's side of one connection: the wire protocol."""

import re
from collections.abc import Callable
from typing import Any, Final, Protocol

from mts1b_platform.testing.simulation.network import Socket
from mts1b_platform.testing.simulation.server.subjects import Interest, Subscription

_WORDS: Final = re.compile(rb"[^ \t]+")
"""Only spaces and tabs part the words of a line."""


class Server(Protocol):
    """What a session needs of its server."""

    max_payload: int
    interest: Interest
    sessions: dict["Session", None]

    def when_awake(self, call: Callable[..., object], *args: Any) -> None:
        """Do it now, or when the server is no longer frozen."""
        ...

    def flush_soon(self, session: "Session") -> None:
        """Write what the session has to say when this moment is over."""
        ...

    def publish(self, subject: str, reply: str, head: bytes, data: bytes) -> None:
        """A client has published."""
        ...


class Session:
    """What one client says, and what it is sent."""

    def __init__(self, server: Server, socket: Socket) -> None:
        self.server, self.socket = server, socket
        self.alive = True
        self._rest = b""
        self._subscriptions: dict[bytes, Subscription] = {}
        self._out: list[bytes] = []
        socket.on_data, socket.on_lost = self._arrived, self.lost

    def send(self, data: bytes) -> None:
        """Write it with whatever else is written at this moment."""
        if self.alive:
            if not self._out:
                self.server.flush_soon(self)
            self._out.append(data)

    def flush(self) -> None:
        out, self._out = self._out, []
        if out and self.alive:
            self.socket.down.write(b"".join(out))

    def forget(self, subscription: Subscription) -> None:
        self._subscriptions.pop(subscription.sid, None)

    def lost(self) -> None:
        """The client is gone."""
        self.alive = False
        for subscription in list(self._subscriptions.values()):
            self.server.interest.remove(subscription)
        self.server.sessions.pop(self, None)

    def refuse(self, words: str, *, close: bool) -> None:
        """Say an error line, and maybe hang up."""
        if not self.alive:
            return
        if words:
            self.send(b"-ERR '%b'\r\n" % words.encode())
        self.flush()
        if close:
            self.lost()
            self.socket.server_close()

    def _arrived(self, data: bytes) -> None:
        self.server.when_awake(self._feed, data)

    def _feed(self, data: bytes) -> None:
        self.socket.server_read(len(data))
        if not self.alive:
            return
        rest = self._rest + data
        at = 0
        while self.alive and (end := rest.find(b"\r\n", at)) >= 0:
            line = rest[at:end]
            verb = line[:4].upper()
            if verb in {b"PUB ", b"PUB\t", b"HPUB"}:
                words = _WORDS.findall(line)
                size = int(words[-1])
                begin = end + 2
                if len(rest) < begin + size + 2:
                    break
                at = begin + size + 2
                self._published(words, rest[begin : begin + size])
            else:
                at = end + 2
                self._said(verb, line)
        self._rest = rest[at:]

    def _published(self, words: list[bytes], body: bytes) -> None:
        if len(body) > self.server.max_payload:
            self.refuse("Maximum Payload Violation", close=True)
            return
        head = b""
        if words[0].upper() == b"HPUB":
            size = int(words[-2])
            head, body = body[:size], body[size:]
            reply = words[2] if len(words) == 5 else b""
        else:
            reply = words[2] if len(words) == 4 else b""
        self.server.publish(words[1].decode(), reply.decode(), head, body)

    def _said(self, verb: bytes, line: bytes) -> None:
        if verb == b"PING":
            self.send(b"PONG\r\n")
        elif verb in {b"SUB ", b"SUB\t"}:
            words = _WORDS.findall(line)
            sid = words[-1]
            if sid not in self._subscriptions:
                queue = words[2].decode() if len(words) == 4 else ""
                made = self._subscriptions[sid] = Subscription(self, sid, words[1].decode(), queue)
                self.server.interest.add(made)
        elif verb == b"UNSU":
            words = _WORDS.findall(line)
            subscription = self._subscriptions.get(words[1])
            if subscription is not None and len(words) == 3:
                subscription.left = int(words[2])
            elif subscription is not None:
                self.server.interest.remove(subscription)
        elif verb not in {b"CONN", b"PONG"}:
            self.refuse("Unknown Protocol Operation", close=True)
