"""The rules about streams and consumers: what is stored where, and who asks for what."""

from collections.abc import Iterator

from mts1b_foundation.subjects.algebra import covers, is_pattern, overlaps
from mts1b_foundation.subjects.findings import Finding
from mts1b_foundation.subjects.sources import Sources, StreamSource, registered


def streams(sources: Sources) -> Iterator[Finding]:
    """A durable subject that no stream or more than one captures; a best-effort subject captured by accident."""
    defined = list(_streams(sources))
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


def consumers(sources: Sources) -> Iterator[Finding]:
    """Two services that would share one durable, and so steal each other's events."""
    held: dict[tuple[str, str], str] = {}
    for source in sources:
        for consumer in source.consumers:
            owner = held.setdefault((consumer.stream, consumer.durable), consumer.service)
            if owner != consumer.service:
                yield Finding(
                    consumer.declared_at,
                    "consumer-shared",
                    f"durable {consumer.durable} on {consumer.stream} is used by {owner} and {consumer.service}, "
                    "which would each get a part of the events",
                    "name it after the service",
                )


def _streams(sources: Sources) -> Iterator[StreamSource]:
    for source in sources:
        yield from source.streams
