"""Streams, consumers and services, from one look at the bus and from what is declared."""

from functools import cache
from typing import Any, Final, Literal

from mts1b_foundation.subjects import registry
from mts1b_operations.lag import ConsumerLag
from mts1b_operations.monitor.survey import Survey, discard_risk
from mts1b_operations.people.views import lags
from mts1b_operations.story.readers import services_of_durables
from mts1b_platform.eventbus import AccessDenied
from mts1b_platform.eventbus.declared import declared
from mts1b_platform.eventbus.jetstream.stream_plan import compare

from mts1b_console.person.person import Person
from mts1b_console.read.answer import answered, at
from mts1b_console.read.survey import Looked, looked
from mts1b_console.shapes.state import (
    Consumer,
    Consumers,
    DiscardRisk,
    Drift,
    Service,
    Services,
    Stream,
    StreamLimits,
    Streams,
)

_SECOND: Final = 1_000_000_000
_STORES: Final = ("KV_", "OBJ_")
_NEVER: Final = "0001-01-01"
_READING: Final[dict[str, Literal["yes", "at work", "nobody", "paused"]]] = {
    "yes": "yes",
    "at work": "at work",
    "nobody": "nobody",
    "paused": "paused",
}


async def streams(person: Person) -> Streams:
    """Every stream, beside what is declared."""

    async def work() -> dict[str, Any]:
        survey, held = await looked(person)
        profile = person.bus.settings.profile
        wanted = {each.name: each for each in declared(person.bus.settings.checkouts).streams}
        rows = [
            _stream(name, info, survey, held, wanted[name].render(profile) if name in wanted else None)
            for name, info in sorted(survey.streams.items())
            if not name.startswith(_STORES)
        ]
        return {"read_at": held.read_at, "streams": rows, "missing": sorted(wanted.keys() - survey.streams.keys())}

    return await answered(person, Streams, work)


def _stream(name: str, info: dict[str, Any], survey: Survey, held: Looked, wanted: dict[str, Any] | None) -> Stream:
    config, state = info["config"], info["state"]
    mine = [lag for lag in survey.lags if lag.stream == name]
    limits = StreamLimits(
        messages=_limit(config.get("max_msgs")),
        bytes=_limit(config.get("max_bytes")),
        age_seconds=None if not (age := config.get("max_age") or 0) else age / _SECOND,
        messages_per_subject=_limit(config.get("max_msgs_per_subject")),
    )
    drift = () if wanted is None else compare(wanted, config).fields
    rate = held.per_second(name)
    return Stream(
        name=name,
        subjects=list(config.get("subjects") or ()),
        messages=state["messages"],
        bytes=state["bytes"],
        first_seq=state["first_seq"],
        last_seq=state["last_seq"],
        first_at=_moment(state.get("first_ts")),
        last_at=_moment(state.get("last_ts")),
        consumers=len(mine),
        per_second=rate,
        unread=max((lag.messages for lag in mine), default=None),
        full=_full(limits, state),
        limits=limits,
        retention=config.get("retention", "limits"),
        storage=config.get("storage", "file"),
        replicas=config.get("num_replicas", 1),
        declared=wanted is not None,
        drift=[Drift(field=each.name, declared=str(each.wanted), actual=str(each.held)) for each in drift],
        risks=[risk for lag in mine if (risk := _risk(lag, info, survey, rate)) is not None],
    )


def _limit(value: int | None) -> int | None:
    return value if value is not None and value > 0 else None


def _moment(text: str | None) -> str | None:
    return None if not text or text.startswith(_NEVER) else at(text)


def _full(limits: StreamLimits, state: dict[str, Any]) -> float:
    shares = [0.0]
    if limits.messages:
        shares.append(state["messages"] / limits.messages)
    if limits.bytes:
        shares.append(state["bytes"] / limits.bytes)
    return round(max(shares), 4)


def _risk(lag: ConsumerLag, info: dict[str, Any], survey: Survey, rate: float | None) -> DiscardRisk | None:
    risk, limit = discard_risk(lag, info, survey.fullest.get((lag.stream, lag.consumer), 0.0))
    if not limit:
        return None
    config, state = info["config"], info["state"]
    left: float | None = None
    if limit == "max_age":
        left = max(0.0, config["max_age"] / _SECOND - lag.seconds)
    elif rate and limit == "max_msgs" and lag.oldest_seq is not None:
        left = max(0.0, config["max_msgs"] - (state["last_seq"] - lag.oldest_seq + 1)) / rate
    return DiscardRisk(
        consumer=lag.consumer, risk=round(risk, 4), limit=limit, seconds_left=None if left is None else round(left, 1)
    )


async def consumers(person: Person) -> Consumers:
    """Every consumer with its lag."""

    async def work() -> dict[str, Any]:
        names = services_of_durables()
        try:
            survey, held = await looked(person)
        except AccessDenied:  # a role that may look at consumers alone
            person.refuse_look("consumers")
            found = await lags(person.bus)
            return {
                "consumers": [_consumer(lag, None, None, names) for lag in found],
                "missing": _missing(found, names),
            }
        return {
            "read_at": held.read_at,
            "consumers": [_consumer(lag, survey, held, names) for lag in survey.lags],
            "missing": _missing(survey.lags, names),
        }

    return await answered(person, Consumers, work)


def _missing(found: list[ConsumerLag], names: dict[tuple[str, str], str]) -> list[str]:
    there = {(lag.stream, lag.consumer) for lag in found}
    return [f"{stream}/{durable}" for stream, durable in sorted(names.keys() - there)]


def _consumer(
    lag: ConsumerLag, survey: Survey | None, held: Looked | None, names: dict[tuple[str, str], str]
) -> Consumer:
    key = lag.stream, lag.consumer
    info = survey.streams.get(lag.stream) if survey else None
    return Consumer(
        stream=lag.stream,
        consumer=lag.consumer,
        service=names.get(key) or lag.service or None,
        declared=key in names,
        seconds=round(lag.seconds, 3),
        messages=lag.messages,
        ack_pending=lag.ack_pending,
        redelivered=lag.redelivered,
        pulls=lag.waiting,
        reading=_READING[lag.reading],
        reached=lag.reached,
        floor=lag.floor,
        oldest=f"{lag.stream}:{lag.oldest_seq}" if lag.oldest_seq is not None else None,
        oldest_subject=lag.oldest_subject,
        filters=list(lag.filters),
        durable=lag.durable,
        paused=lag.paused,
        last_active=_moment(lag.last_active),
        trend=list(held.trends.get(key, ())) if held else [],
        risk=_risk(lag, info, survey, held.per_second(lag.stream) if held else None) if survey and info else None,
    )


async def services(person: Person) -> Services:
    """Every service, as far as streams and consumers tell of it."""

    async def work() -> dict[str, Any]:
        survey, held = await looked(person)
        names = services_of_durables()
        reads: dict[str, list[ConsumerLag]] = {}
        for lag in survey.lags:
            if lag.durable and (service := names.get((lag.stream, lag.consumer)) or lag.service):
                reads.setdefault(service, []).append(lag)
        stored = _stored_by(survey)
        known = {subject.producer for subject in registry()} | reads.keys() | stored.keys()
        rows = [_service(name, reads.get(name, []), stored.get(name, []), survey, held) for name in sorted(known)]
        return {"read_at": held.read_at, "services": rows}

    return await answered(person, Services, work)


def _stored_by(survey: Survey) -> dict[str, list[str]]:
    """The streams that hold events of one service alone, by service."""
    found: dict[str, list[str]] = {}
    for name, info in survey.streams.items():
        if (producer := _only_producer(tuple(info["config"].get("subjects") or ()))) is not None:
            found.setdefault(producer, []).append(name)
    return found


@cache
def _only_producer(patterns: tuple[str, ...]) -> str | None:
    """The one service whose subjects are among ``patterns``; None when there are several, or none."""
    producers = {subject.producer for pattern in patterns for subject in registry().matching(pattern)}
    return producers.pop() if len(producers) == 1 else None


def _service(name: str, reads: list[ConsumerLag], stored: list[str], survey: Survey, held: Looked) -> Service:
    away = [f"{lag.stream}/{lag.consumer}" for lag in reads if lag.reading == "nobody"]
    moments = [moment for each in stored if (moment := _moment(survey.streams[each]["state"].get("last_ts")))]
    rates = [rate for each in stored if (rate := held.per_second(each)) is not None]
    return Service(
        name=name,
        reads=len(reads),
        reading=None if not reads else not away,
        away=away,
        lag_seconds=max((round(lag.seconds, 3) for lag in reads), default=None),
        messages=sum(lag.messages for lag in reads) if reads else None,
        last_event=max(moments, default=None),
        per_second=round(sum(rates), 2) if rates else None,
    )
