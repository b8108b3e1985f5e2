"""What consuming shares on one bus: the connection, the publishing side for dead letters, the readers at work."""

from collections.abc import Sequence
from typing import Any, Protocol
from weakref import WeakSet

from mts1b_foundation.subjects import Subject

from mts1b_platform.eventbus.codec.decoder import Decoder
from mts1b_platform.eventbus.connection.client import BusClient
from mts1b_platform.eventbus.publishing.context import PublishContext


class Reader(Protocol):
    """A consumer or a listener."""

    @property
    def patterns(self) -> tuple[str, ...]:
        """The registered patterns that it reads."""
        ...

    @property
    def waiting(self) -> int:
        """How many events wait here."""
        ...

    @property
    def open(self) -> int:
        """How many events are being handled."""
        ...

    async def stop(self) -> None:
        """Stop reading."""
        ...

    def closed(self) -> None:
        """The connection is closed for good."""
        ...


class ConsumeContext:
    """Handed to every reader."""

    __slots__ = ("_decoders", "client", "publishing", "readers")

    def __init__(self, client: BusClient, publishing: PublishContext) -> None:
        self.client = client
        self.publishing = publishing
        """Dead letters are published."""
        self.readers: WeakSet[Reader] = WeakSet()
        """The readers at work; one that nobody refers to any more stops."""
        self._decoders: dict[tuple[str, ...], Decoder] = {}

    def decoder(self, subjects: Sequence[Subject[Any]]) -> Decoder:
        """The decoder of ``subjects``; one for all their readers, so that what one has seen all know.

        Raises:
            SchemaMismatch: a subject replaces another, and no upcaster leads from the old payload to the new one.
        """
        patterns = tuple(subject.pattern for subject in subjects)
        found = self._decoders.get(patterns)
        if found is None:
            found = self._decoders[patterns] = Decoder(subjects)
        return found

    def forget(self, reader: Reader) -> None:
        """A reader has ended."""
        self.readers.discard(reader)
