"""One survey of the server, and a function per watched quantity that makes readings of it."""

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from cryptography import x509
from mts1b_platform.eventbus import EventBus
from mts1b_platform.eventbus.jetstream.api import ApiError, js_api

from mts1b_operations.lag import ConsumerLag, lags_of, stream_infos
from mts1b_operations.monitor.reading import Reading, Watch

_NANOSECONDS = 1_000_000_000
_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Survey:
    """The server's state at one moment."""

    streams: dict[str, dict[str, Any]]
    """Information on every stream, by name."""
    lags: list[ConsumerLag]
    fullest: dict[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float])
    """How full the fullest subject of a consumer's backlog is, where that was worth asking; by stream and consumer."""


async def survey(bus: EventBus) -> Survey:
    """Read the state of every stream and consumer.

    Raises:
        JetStreamUnavailable: JetStream does not answer.
        ApiError: this identity may not ask.
    """
    streams = {info["config"]["name"]: info for info in await stream_infos(bus)}
    lags = await lags_of(bus, streams)
    fullest: dict[tuple[str, str], float] = {}
    for lag in lags:
        limit = streams[lag.stream]["config"].get("max_msgs_per_subject", -1)
        if limit > 0 and lag.messages > limit / 2:
            fullest[lag.stream, lag.consumer] = await _fullest(bus, lag, limit)
    return Survey(streams, lags, fullest)


async def _fullest(bus: EventBus, lag: ConsumerLag, limit: int) -> float:
    """Messages on the fullest subject that the consumer reads, as a share of the limit."""
    most = 0
    for subject in lag.filters or (">",):
        try:
            info = await js_api(bus, f"STREAM.INFO.{lag.stream}", {"subjects_filter": subject})
        except ApiError:
            continue  # the stream is gone: the next look says so
        counts: dict[str, int] = info["state"].get("subjects") or {}
        most = max([most, *counts.values()])
    return most / limit


def slow_consumers(seen: Survey, ignored: Iterable[str]) -> Iterator[Reading]:
    """The lag of every consumer that is not ignored or paused."""
    patterns = tuple(ignored)
    for lag in seen.lags:
        target = f"{lag.stream}/{lag.consumer}"
        if lag.paused or any(fnmatchcase(target, pattern) for pattern in patterns):
            continue
        yield Reading(
            Watch.SLOW_CONSUMER,
            target,
            lag.seconds,
            f"{lag.consumer} on {lag.stream} is {lag.seconds:.0f} s behind with {lag.messages} messages"
            + ("" if lag.waiting or lag.ack_pending else "; nobody reads"),
        )


def discard_risks(seen: Survey) -> Iterator[Reading]:
    """How near each consumer's oldest unread message is to being discarded by a limit of its stream."""
    for lag in seen.lags:
        risk, limit = discard_risk(lag, seen.streams[lag.stream], seen.fullest.get((lag.stream, lag.consumer), 0.0))
        yield Reading(
            Watch.DISCARD_RISK,
            f"{lag.stream}/{lag.consumer}",
            risk,
            f"the oldest message that {lag.consumer} has not read is {risk:.0%} of the way to being discarded by "
            f"{limit or 'a limit'} of {lag.stream}",
        )


def discard_risk(lag: ConsumerLag, stream: dict[str, Any], fullest: float) -> tuple[float, str]:
    """The share of the nearest limit that is used up from the oldest unread message on, and that limit's name."""
    config, state = stream["config"], stream["state"]
    if lag.oldest_seq is None or config.get("discard") != "old" or config.get("retention") != "limits":
        return 0.0, ""
    behind = max(0, state["last_seq"] - lag.oldest_seq + 1)
    span = max(1, state["last_seq"] - state["first_seq"] + 1)
    risks: list[tuple[float, str]] = [(0.0, "")]
    if (age := config.get("max_age") or 0) > 0:
        risks.append((lag.seconds * _NANOSECONDS / age, "max_age"))
    if (messages := config.get("max_msgs") or -1) > 0:
        risks.append((behind / messages, "max_msgs"))
    if (size := config.get("max_bytes") or -1) > 0:
        risks.append((state["bytes"] * min(1.0, behind / span) / size, "max_bytes"))
    if (each := config.get("max_msgs_per_subject") or -1) > 0:
        risks.append((min(lag.messages / each, fullest), "max_msgs_per_subject"))
    return max(risks)


def missing_streams(seen: Survey, expected: Iterable[str]) -> Iterator[Reading]:
    """Which expected streams are not there."""
    for name in expected:
        gone = name not in seen.streams
        detail = f"stream {name} is not on the server: create it with `mts1b streams apply`" if gone else "is there"
        yield Reading(Watch.STREAM_MISSING, name, float(gone), detail)


def silent_sources(seen: Survey) -> Iterator[Reading]:
    """Seconds since each stream that copies one of another site has heard of it. Its ``lag`` says 0 while it is cut."""
    for name, info in seen.streams.items():
        mirror: list[dict[str, Any]] = [info["mirror"]] if info.get("mirror") else []
        sources: list[dict[str, Any]] = info.get("sources") or []
        for copied in (*mirror, *sources):
            external: dict[str, str] = copied.get("external") or {}
            site = external.get("api", "$JS.here.API").split(".")[1]
            active = copied.get("active", -1)
            yield Reading(
                Watch.SOURCE_SILENT,
                f"{name}/{site}",
                active / _NANOSECONDS if active >= 0 else math.inf,
                f"{name} has heard nothing of {copied['name']} at site {site} "
                + (f"for {active / _NANOSECONDS:.0f} s" if active >= 0 else "since the server was started"),
            )


def missing_consumers(seen: Survey, expected: Iterable[str]) -> Iterator[Reading]:
    """Which expected durables (``stream/durable``) are not there."""
    there = {f"{lag.stream}/{lag.consumer}" for lag in seen.lags}
    for target in expected:
        gone = target not in there
        detail = f"durable {target} is gone: its position is lost; start its service, which creates it anew"
        yield Reading(Watch.CONSUMER_MISSING, target, float(gone), detail if gone else "is there")


def certificates(paths: Iterable[Path]) -> Iterator[Reading]:
    """Days until each certificate expires, the first of a chain; one that cannot be read counts as expired."""
    for path in paths:
        try:
            expires = min(one.not_valid_after_utc for one in x509.load_pem_x509_certificates(path.read_bytes()))
        except (OSError, ValueError) as error:
            yield Reading(Watch.CERTIFICATE, str(path), 0.0, f"certificate {path} cannot be read: {error}")
            continue
        days = (expires - datetime.now(UTC)).total_seconds() / _DAY
        yield Reading(Watch.CERTIFICATE, str(path), days, f"certificate {path} expires on {expires:%Y-%m-%d}")


class DeadLetterWindow:
    """How many dead letters were stored within the last so many seconds.

    Counts from when it was made; dead letters of before are history.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._last: int | None = None
        self._arrived: list[tuple[float, int]] = []

    def read(self, seen: Survey) -> Iterator[Reading]:
        """One reading, or none while there is no stream of dead letters."""
        stream = seen.streams.get("DEADLETTERS")
        if stream is None:
            return
        now, last = time.monotonic(), int(stream["state"]["last_seq"])
        if self._last is not None and last > self._last:
            self._arrived.append((now, last - self._last))
        self._last = last
        self._arrived = [(at, count) for at, count in self._arrived if now - at < self._seconds]
        recent = sum(count for _, count in self._arrived)
        yield Reading(
            Watch.DEAD_LETTERS,
            "DEADLETTERS",
            float(recent),
            f"{recent} dead letters in the last {self._seconds:g} s; see `mts1b deadletters ls`",
        )
