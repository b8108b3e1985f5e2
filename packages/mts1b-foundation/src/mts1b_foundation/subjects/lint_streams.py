"""The rules about streams and consumers: what is stored where, and who asks for what."""

import re
from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Final

from mts1b_foundation.subjects.algebra import covers, is_pattern, overlaps
from mts1b_foundation.subjects.contributions import claim_pattern
from mts1b_foundation.subjects.findings import Finding
from mts1b_foundation.subjects.sources import (
    Sources,
    StreamSource,
    claims_of,
    contested_deadletters,
    deadletters_in,
    registered,
)

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_DURABLE: Final = re.compile(r"(?:(?![.*>/\\])[!-~]){1,128}")


def streams(sources: Sources) -> Iterator[Finding]:
    """A durable subject that no stream or more than one captures; a best-effort subject captured by accident."""
    defined = list({stream.name: stream for stream in _streams(sources)}.values())
    for _, subject in registered(sources):
        for form in subject.patterns:
            touching = [stream for stream in defined if any(overlaps(each, form) for each in stream.subjects)]
            if not subject.tier.durable:
                for stream in touching:
                    yield Finding(
                        stream.site,
                        "stream-stray",
                        f"stream {stream.name} captures {form}, which is best effort and must not be stored",
                        "narrow the stream's subjects, or declare the subject durable",
                    )
            elif len(touching) > 1:
                names = " and ".join(stream.name for stream in touching)
                yield Finding(
                    touching[-1].site,
                    "stream-many",
                    f"{form} is captured by {names}",
                    "let exactly one of them capture it",
                )
            elif not touching or not covers(touching[0].subjects, form):
                partly = f"only a part of {form} is captured, by {touching[0].name}" if touching else None
                yield Finding(
                    subject.declared_at,
                    "stream-none",
                    partly or f"{form} is durable and no stream captures it",
                    "add it to the subjects of a stream",
                )


def stream_patterns(sources: Sources) -> Iterator[Finding]:
    """A stream pattern that the server refuses, or one that captures nothing that is registered."""
    forms = [form for _, subject in registered(sources) for form in subject.patterns]
    for stream in _streams(sources):
        for pattern in stream.subjects:
            if not is_pattern(pattern):
                yield Finding(
                    stream.site,
                    "grammar",
                    f"stream {stream.name} lists {pattern!r}, which is no pattern",
                    "use * for one token and > at the end only",
                )
            elif pattern.startswith("mts.") and not any(overlaps(pattern, form) for form in forms):
                yield Finding(
                    stream.site,
                    "stream-idle",
                    f"stream {stream.name} lists {pattern}, which matches no registered subject",
                    "correct the pattern, or register the subject",
                )


def filters(sources: Sources) -> Iterator[Finding]:
    """A consumer filter outside its stream; a consumer of a stream that nobody defines."""
    defined = {stream.name: stream for stream in _streams(sources)}
    for source in sources:
        for consumer in source.consumers:
            stream = defined.get(consumer.stream)
            if stream is None:
                yield Finding(
                    consumer.declared_at,
                    "consumer-stream",
                    f"consumer {consumer.durable} of {consumer.service} reads stream {consumer.stream}, "
                    "which nobody defines",
                    f"name one of {', '.join(sorted(defined))}",
                )
                continue
            for each in consumer.filters:
                if not is_pattern(each) or not covers(stream.subjects, each):
                    yield Finding(
                        consumer.declared_at,
                        "consumer-filter",
                        f"consumer {consumer.durable} of {consumer.service} asks {consumer.stream} for {each}, "
                        f"which is outside the stream ({', '.join(stream.subjects)})",
                        "ask for what the stream stores, or read another stream",
                    )


def definitions(sources: Sources) -> Iterator[Finding]:
    """A stream that nobody could create: no definition, one that does not render, a bad name, a name used twice."""
    held: dict[str, StreamSource] = {}
    for stream in _streams(sources):
        render = getattr(stream.definition, "render", None)
        if not _NAME.fullmatch(stream.name):
            yield Finding(
                stream.site,
                "stream-broken",
                f"stream {stream.name!r} has a name that no server takes",
                "use letters, digits, - and _",
            )
        elif render is None:
            yield Finding(
                stream.site,
                "stream-broken",
                f"stream {stream.name} is a {type(stream.definition).__name__}, which nothing can create",
                "declare a mts1b_platform.eventbus.StreamDefinition",
            )
        elif problem := _problem(render):
            yield Finding(stream.site, "stream-broken", f"stream {stream.name}: {problem}", "correct the definition")
        other = held.setdefault(stream.name, stream)
        if other is not stream and other.definition != stream.definition:
            yield Finding(
                stream.last_site,
                "stream-twice",
                f"stream {stream.name} is defined here and, otherwise, in {other.path}",
                "name it after its repo",
            )


def overlapping_streams(sources: Sources) -> Iterator[Finding]:
    """Two streams that would store the same subjects: the server refuses the second one."""
    for first, second in combinations(_streams(sources), 2):
        clash = next(((a, b) for a in first.subjects for b in second.subjects if overlaps(a, b)), None)
        if clash is not None and first.name != second.name:
            yield Finding(
                second.site,
                "stream-overlap",
                f"stream {second.name} stores {clash[1]}, which overlaps {clash[0]} of stream {first.name}",
                "narrow one of them: a server that has the one refuses the other",
            )


def deadletters(sources: Sources) -> Iterator[Finding]:
    """A reader whose dead letters would pass for another's, so that it may not store them."""
    contested, letters = contested_deadletters(sources), deadletters_in(sources)
    for source in sources:
        for each in source.consumers:
            if owner := contested.get(each.service):
                yield Finding(
                    each.declared_at,
                    "deadletters-claimed",
                    f"{each.service} would store its dead letters under {letters[each.service].pattern}, which is "
                    f"{owner}'s",
                    f"list {each.service} as a producer with a token of its own, or rename it",
                )


def own_events(sources: Sources) -> Iterator[Finding]:
    """A durable that reads what its service publishes itself: a locked-down bus does not grant it."""
    claims = claims_of(sources)
    for source in sources:
        for each in source.consumers:
            held = [claim_pattern(claim) for claim in claims.get(each.service, ())]
            own = [wanted for wanted in each.filters if any(overlaps(wanted, claim) for claim in held)]
            if own:
                yield Finding(
                    each.declared_at,
                    "consumer-own",
                    f"durable {each.durable} of {each.service} reads {', '.join(own)}, which {each.service} publishes "
                    "itself; on a locked-down bus it gets no right to: pulled with a foreign reply subject, its own "
                    "event would come out as somebody else's",
                    "let another service read it",
                )


def consumers(sources: Sources) -> Iterator[Finding]:
    """A name that no durable can have; two services that would share one durable, and so steal each other's events."""
    held: dict[tuple[str, str], str] = {}
    for source in sources:
        for consumer in source.consumers:
            if not _DURABLE.fullmatch(consumer.durable):
                yield Finding(
                    consumer.declared_at,
                    "consumer-name",
                    f"{consumer.durable!r} is no name of a durable",
                    "use ASCII letters, digits, - and _, 128 of them at most",
                )
            owner = held.setdefault((consumer.stream, consumer.durable), consumer.service)
            if owner != consumer.service:
                yield Finding(
                    consumer.declared_at,
                    "consumer-shared",
                    f"durable {consumer.durable} on {consumer.stream} is used by {owner} and {consumer.service}, "
                    "which would each get a part of the events",
                    "name it after the service",
                )


def _problem(render: Callable[[str], object]) -> str | None:
    try:
        render("production")
    except Exception as error:  # noqa: BLE001 - whatever a definition raises is what is wrong with it
        return f"it cannot be rendered: {error}"
    return None


def _streams(sources: Sources) -> Iterator[StreamSource]:
    for source in sources:
        yield from source.streams
