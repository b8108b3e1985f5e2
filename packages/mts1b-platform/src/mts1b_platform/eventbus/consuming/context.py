"""What consuming shares on one bus: the connection, the publishing side for dead letters, the readers at work."""

from collections.abc import Sequence
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from mts1b_foundation.subjects import Subject, registry

from mts1b_platform.eventbus.codec.decoder import Decoder
from mts1b_platform.eventbus.connection.client import BusClient
from mts1b_platform.eventbus.publishing.context import PublishContext
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.eventbus.consumer")


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

    __slots__ = ("_decoders", "_readers", "client", "publishing")

    def __init__(self, client: BusClient, publishing: PublishContext) -> None:
        self.client = client
        self.publishing = publishing
        """Dead letters are published."""
        self._readers: WeakKeyDictionary[Reader, None] = WeakKeyDictionary()
        self._decoders: dict[tuple[str, ...], Decoder] = {}

    def decoder(self, subjects: Sequence[Subject[Any]]) -> Decoder:
        """The decoder of ``subjects``; one for all their readers, so that what one has seen all know.

        A subject that another replaces is read as it is, and the log says once what it is not given.

        Raises:
            SchemaMismatch: a subject replaces another, and no upcaster leads from the old payload to the new one.
        """
        patterns = tuple(subject.pattern for subject in subjects)
        found = self._decoders.get(patterns)
        if found is None:
            found = self._decoders[patterns] = Decoder(subjects)
            for subject in subjects:
                _warn_of_newer(subject, patterns)
        return found

    @property
    def readers(self) -> list[Reader]:
        """The readers at work, in the order in which they began; one that nobody refers to any more stops."""
        return list(self._readers)

    def remember(self, reader: Reader) -> None:
        """A reader has begun."""
        self._readers[reader] = None

    def forget(self, reader: Reader) -> None:
        """A reader has ended."""
        self._readers.pop(reader, None)


def _warn_of_newer(subject: Subject[Any], read: Sequence[str]) -> None:
    newer = [each.pattern for each in registry() if each.replaces == subject and each.pattern not in read]
    if newer:
        log.warning(
            "the subject is replaced: this reader is given nothing of what is published on the newer one; read that",
            subject=subject.pattern,
            newer=", ".join(newer),
        )
