"""The server as a whole: its sessions, where a publish goes, its starts and ends, who leads."""

import json
from typing import Final

from mts1b_platform.testing.simulation.network import Listeners, Socket
from mts1b_platform.testing.simulation.server import api
from mts1b_platform.testing.simulation.server.host import Host
from mts1b_platform.testing.simulation.server.session import Session
from mts1b_platform.testing.simulation.server.storing import store
from mts1b_platform.testing.simulation.server.stream import Stream, StreamState
from mts1b_platform.testing.simulation.world import World

ADDRESS: Final = "sim:4222"
_PULL: Final = "CONSUMER.MSG.NEXT."
_UNPIN: Final = "CONSUMER.UNPIN."
_WRITE_DEADLINE: Final = 10.0
"""Seconds that a client may take to read anything before it is cut off."""


class NatsModel(Host):
    """A nats-server with JetStream.

    Args:
        world: where it lives.
        keeps_files: whether consumers write their state down, to be killed with.
    """

    def __init__(self, world: World, *, keeps_files: bool = False) -> None:
        super().__init__(world, keeps_files=keeps_files)
        self.listeners: Listeners = {}
        """It, while it is up: who has these reaches it."""
        self.max_payload = 1 << 20
        self.streams: dict[str, Stream] = {}
        self.sessions: dict[Session, None] = {}
        self.leads = True
        """Whether this server leads its streams and consumers; without that nobody does."""
        self._unflushed: list[Session] = []
        self.start()

    # Sessions.

    def accept(self, socket: Socket) -> None:
        """A client has connected."""
        session = Session(self, socket)
        self.sessions[session] = None
        told = {
            "server_id": "SIMULATED",
            "server_name": "simulated",
            "version": "2.15.1",
            "proto": 1,
            "headers": True,
            "max_payload": self.max_payload,
            "jetstream": True,
            "client_id": socket.number,
        }
        session.send(b"INFO %b\r\n" % json.dumps(told).encode())

    def flush_soon(self, session: Session) -> None:
        """Write what the session has to say when this moment is over."""
        if not self._unflushed:
            self.at(self.world.now, self._flush)
        self._unflushed.append(session)

    def _flush(self) -> None:
        sessions, self._unflushed = self._unflushed, []
        for session in sessions:
            session.flush()
            if session.socket.down.backlog:
                self.at(self.world.now + _WRITE_DEADLINE, self._cut_off_slow, session)

    def _cut_off_slow(self, session: Session) -> None:
        stuck = session.socket.down.stuck_since
        if session.alive and stuck is not None and self.world.now - stuck >= _WRITE_DEADLINE:
            self.world.injected["slow consumer"] += 1
            session.refuse("", close=True)

    # Messages.

    def publish(self, subject: str, reply: str, head: bytes, data: bytes) -> None:
        """A client has published."""
        if subject.startswith("$JS."):
            if subject.startswith("$JS.ACK."):
                self._answered(subject, reply, data)
            elif subject.startswith("$JS.API."):
                self._asked(subject, reply, data)
            return
        receivers = self.interest.route(subject, reply, head, data)
        if self.leads:
            tokens = subject.split(".")
            for stream in self.streams.values():
                if stream.stores(tokens):
                    store(self, stream, subject, reply, head, data)
                    return
        if not receivers and reply:
            self._nobody(reply, subject)

    def _answered(self, subject: str, reply: str, data: bytes) -> None:
        words = subject.split(".")
        stream = self.streams.get(words[2])
        consumer = stream.consumers.get(words[3]) if stream is not None else None
        if not self.leads or consumer is None or len(words) != 9:
            return
        if consumer.answered(int(words[4]), int(words[5]), int(words[6]), data) and reply:
            self.interest.route(reply, "", b"", b"")

    def _asked(self, subject: str, reply: str, data: bytes) -> None:
        verb = subject[8:]
        if verb.startswith(_PULL):
            stream_name, _, name = verb[len(_PULL) :].partition(".")
            stream = self.streams.get(stream_name)
            consumer = stream.consumers.get(name) if stream is not None else None
            if not self.leads or consumer is None:
                self._nobody(reply, subject)
            else:
                consumer.pull(reply, data)
        elif self.leads and (reply or verb.startswith(_UNPIN)):
            document = api.answer(self, self.streams, verb, data)
            self.interest.route(reply, "", b"", json.dumps(document).encode())

    def _nobody(self, reply: str, subject: str) -> None:
        if reply:
            head = f"NATS/1.0 503\r\nNats-Subject: {subject}\r\n\r\n"
            self.interest.route(reply, "", head.encode(), b"")

    # Life and faults.

    def start(self, streams: dict[str, StreamState] | None = None) -> None:
        """Come up, with what is on disk."""
        self.up = True
        self.listeners[ADDRESS] = self
        if streams is not None:
            self.streams = {name: Stream.restore(self, state) for name, state in streams.items()}

    def snapshot(self, *, as_written: bool = False) -> dict[str, StreamState]:
        """What is on disk; with ``as_written`` consumers are as old as their files."""
        return {name: stream.snapshot(as_written=as_written) for name, stream in self.streams.items()}

    def kill(self, keep: float) -> None:
        """End at once; this share of what was sent still arrives."""
        self.die()
        self.listeners.pop(ADDRESS, None)
        for session in list(self.sessions):
            session.flush()
            session.alive = False
            session.socket.server_close(keep)
        self.sessions.clear()
        self._unflushed.clear()

    def lose_leadership(self) -> None:
        """No stream or consumer has a leader for now."""
        self.leads = False
        for stream in self.streams.values():
            for consumer in stream.consumers.values():
                consumer.pulls.end_all("409 Leadership Change", counts=True)
                consumer.lose_pin()

    def gain_leadership(self) -> None:
        self.leads = True

    def delete_stream(self, name: str) -> None:
        """Delete a stream with its consumers."""
        self.streams.pop(name).close()
