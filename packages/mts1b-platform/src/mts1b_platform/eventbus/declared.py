"""What is declared: one definition for every tool, by the foundation, installed packages and checkouts that are given.

``mts1b streams``, ``mts1b-deploy install`` and ``doctor``, permissions, readiness, the monitor: whoever asks what there
should be asks here, so that a contributed stream, durable or service is the same everywhere.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mts1b_foundation.errors import ContributionError
from mts1b_foundation.subjects.contributions import ConsumerDeclaration
from mts1b_foundation.subjects.sources import Sources, load_sources

from mts1b_platform.eventbus.streams import STREAMS, StreamDefinition


@dataclass(frozen=True, slots=True)
class Declared:
    """Everything that is declared, the platform's own first.

    Attributes:
        sources: by repo, subjects, producers, streams and durables as they were written.
        streams: every stream, once.
        consumers: every durable, once; of two services that claim one name in one stream the first has it.
    """

    sources: Sources
    streams: tuple[StreamDefinition, ...]
    consumers: tuple[ConsumerDeclaration, ...]

    def owner(self, stream: str) -> str | None:
        """The repo that declares ``stream``; None when nobody does."""
        return next((each.name for each in self.sources if any(stream == one.name for one in each.streams)), None)


def declared(checkouts: Iterable[Path] = ()) -> Declared:
    """Everything that the foundation, installed packages and ``checkouts`` declare; read once a process.

    Raises:
        ContributionError: something does not load, or could not be created on a server; the message names it.
    """
    return loaded(tuple(checkouts))


@cache
def loaded(checkouts: tuple[Path, ...]) -> Declared:
    """As :func:`declared`; ``loaded.cache_clear()`` has everything read anew, for tests that install packages."""
    sources = load_sources(checkouts)
    consumers: dict[tuple[str, str], ConsumerDeclaration] = {}
    for source in sources:
        for each in source.consumers:
            consumers.setdefault((each.stream, each.durable), each)
    return Declared(sources, tuple(_streams(sources)), tuple(consumers.values()))


def _streams(sources: Sources) -> Iterable[StreamDefinition]:
    found = {each.name: each for each in STREAMS}
    for source in sources:
        for each in source.streams:
            definition = each.definition
            if not isinstance(definition, StreamDefinition):
                raise ContributionError(
                    f"{source.name} contributes the stream {each.name!r} as a {type(definition).__name__} "
                    f"({each.site}): make it a mts1b_platform.eventbus.StreamDefinition, so that it can be created"
                )
            if found.setdefault(each.name, definition) != definition:
                raise ContributionError(
                    f"{source.name} defines the stream {each.name} otherwise than another package ({each.site}): "
                    "`mts1b subjects check` names both; rename one of them"
                )
    return found.values()
