"""The stored messages of a stream, as its consumers see them."""

from dataclasses import dataclass

from mts1b_platform.testing.simulation.server.host import Host


@dataclass(slots=True)
class Stored:
    """One message."""

    seq: int
    subject: str
    tokens: list[str]
    head: bytes
    data: bytes
    at: int
    """Nanoseconds since 1970."""


class Log:
    """What is stored, by sequence."""

    def __init__(self, server: Host, name: str) -> None:
        self.server, self.name = server, name
        self.messages: dict[int, Stored] = {}
        self.first: int = 1
        self.last: int = 0
