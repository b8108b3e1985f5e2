"""One run of ``mts1b bench``: subjects and a stream that are its own, the measurements, and nothing left behind.

The subjects lie below the prefix that the identity may publish on, in a place that no other run and no declaration
has. The stream is deleted however the run ends; killed outright, it empties itself within the hour.
"""

import secrets
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from mts1b_foundation.marketdata import Quote
from mts1b_foundation.subjects import DurableSubject, Subject, Tier
from mts1b_foundation.subjects.algebra import overlaps
from mts1b_foundation.subjects.contributions import FOUNDATION, SUBJECTS_GROUP, Contribution, installed

from mts1b_platform.commands._bench_parts import CORE, DURABLE, Bench, BenchError, Figures, Part
from mts1b_platform.config import Settings
from mts1b_platform.eventbus import (
    STREAMS,
    AccessDenied,
    BusError,
    EventBus,
    JetStreamUnavailable,
    StreamDefinition,
    connect,
)
from mts1b_platform.eventbus.jetstream.api import NOT_FOUND_STREAM, ApiError, js_api, where

ANYBODY: Final = "mts1b-bench"
"""Whom a run speaks as where nobody asks for an identity."""
STREAM_PREFIX: Final = "MTS1B_BENCH_"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run found, and what it could not measure."""

    server: dict[str, Any]
    figures: list[Figures] = field(default_factory=list[Figures])
    skipped: list[str] = field(default_factory=list[str])
    """Why something was not measured; a sentence each."""


async def run(servers: str | None, seconds: float) -> Outcome:
    """Measure the server for about ``seconds``.

    Raises:
        BenchError: nothing could be measured.
        BusError: the server cannot be reached, or refuses this identity.
    """
    async with AsyncExitStack() as ends:
        service = _service(Settings.load())
        publisher, reader = [await ends.enter_async_context(_quiet_bus(servers, service)) for _ in range(2)]
        name = secrets.token_hex(4)
        prefix = f"mts.v1.{_token(service)}.bench_{name}"
        bench = Bench(
            run=name,
            stream=f"{STREAM_PREFIX}{name}",
            publisher=publisher,
            reader=reader,
            live=_live(f"{prefix}.{{symbol}}", service),
            stored=_stored(f"{prefix}_stored.{{symbol}}", service),
        )
        outcome = Outcome(_about(publisher))
        await _refuse_when_stored(bench)
        await _measure(bench, CORE, seconds, outcome)
        try:
            await ends.enter_async_context(_stream(bench))
        except (AccessDenied, ApiError, JetStreamUnavailable) as error:
            outcome.skipped.append(f"durable publish and consume: {_why_no_stream(error)}")
        else:
            await _measure(bench, DURABLE, seconds, outcome)
        return outcome


async def _measure(bench: Bench, parts: Sequence[Part], seconds: float, outcome: Outcome) -> None:
    for part in parts:
        budget = seconds * part.share
        sys.stderr.write(f"measuring {part.name}, {budget:.1f} s\n")
        sys.stderr.flush()
        outcome.figures.append(await part.measure(bench, budget, part.name))


@asynccontextmanager
async def _quiet_bus(servers: str | None, service: str) -> AsyncGenerator[EventBus]:
    """A bus that neither the audit log nor traces hear of: they are for events that mean something."""
    async with await connect(servers, service=service) as bus:
        hooks, bus.hooks = bus.hooks, None
        try:
            yield bus
        finally:
            bus.hooks = hooks


@asynccontextmanager
async def _stream(bench: Bench) -> AsyncGenerator[None]:
    """The run's own stream, deleted at the end."""
    bus = bench.publisher
    definition = StreamDefinition(
        name=bench.stream,
        subjects=bench.stored.patterns,
        description="A measurement by `mts1b bench`; may be deleted.",
        max_age="1h",
    )
    refused = False
    try:
        try:
            await js_api(bus, f"STREAM.CREATE.{bench.stream}", definition.render(bus.settings.profile), timeout=10)
        except (AccessDenied, ApiError):
            refused = True
            raise
        yield
    finally:
        if not refused:
            await _delete(bus, bench.stream)


async def _delete(bus: EventBus, stream: str) -> None:
    try:
        await js_api(bus, f"STREAM.DELETE.{stream}", timeout=10)
    except BusError as error:
        if not (isinstance(error, ApiError) and error.err_code == NOT_FOUND_STREAM):
            sys.stderr.write(f"mts1b: stream {stream} may be left: {error}; delete it with `nats stream rm {stream}`\n")


async def _refuse_when_stored(bench: Bench) -> None:
    """Keep out of streams that are somebody's, such as one that stores ``mts.>``."""
    for subject in (bench.live, bench.stored):
        names = [each.name for each in STREAMS for stored in each.subjects if overlaps(stored, subject.patterns[0])]
        try:
            found = await js_api(bench.publisher, "STREAM.NAMES", {"subject": subject.patterns[0]})
            names += found.get("streams") or []
        except (AccessDenied, ApiError, JetStreamUnavailable):
            pass  # what may not be asked is answered by the declarations
        if names:
            raise BenchError(
                f"stream {names[0]} stores {subject.patterns[0]}, so that measuring would fill it: measure on another "
                "server, or narrow the subjects of that stream"
            )


def _service(settings: Settings) -> str:
    """Whom the run speaks as."""
    if settings.service is None and settings.tls_dir is not None:
        raise BenchError("this bus asks who publishes: set MTS1B_SERVICE to one of its services, such as mts1b-oms")
    return settings.service or ANYBODY


def _token(service: str) -> str:
    """The subject token below which ``service`` may publish."""
    contributions = [FOUNDATION, *(each for _, each in installed(SUBJECTS_GROUP))]
    claims = {repo: claim for each in contributions for repo, claim in _claims(each)}
    return claims.get(service) or service.removeprefix("mts1b-").replace("-", "_")


def _claims(contribution: Contribution) -> list[tuple[str, str]]:
    return [(repo, claim) for repo, claim in contribution.producers.items() if "." not in claim]


def _live(pattern: str, producer: str) -> Subject[Quote]:
    return Subject(pattern, producer=producer, payload=Quote, tier=Tier.BEST_EFFORT, description="A measurement.")


def _stored(pattern: str, producer: str) -> DurableSubject[Quote]:
    return DurableSubject(
        pattern,
        producer=producer,
        payload=Quote,
        tier=Tier.AT_LEAST_ONCE,
        description="A measurement.",
        dedupe_key="{session}:{sequence}",
    )


def _why_no_stream(error: BusError) -> str:
    if isinstance(error, AccessDenied):
        return (
            "this identity may not create streams here, and only its own would be touched, so they are not measured "
            f"({error}). On a secured bus only the administration creates streams, and it publishes nothing: measure "
            "the same hardware with a server of your own, `mts1b bench --url nats://…`"
        )
    return f"no stream could be made for it ({error})"


def _about(bus: EventBus) -> dict[str, Any]:
    version = bus.connected_server_version
    return {
        "url": where(bus),
        "version": f"{version.major}.{version.minor}.{version.patch}",
        "jetstream": bus.has_jetstream,
        "profile": bus.settings.profile,
        "fast_path": bus.lane.fast,
    }
