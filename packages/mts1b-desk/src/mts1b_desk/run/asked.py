"""The settings of a run, from what its command was asked for."""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mts1b_foundation.orders import TimeInForce
from mts1b_platform.command_line import speed

from mts1b_desk.errors import DeskError
from mts1b_desk.intervals import duration
from mts1b_desk.run.words import source_of
from mts1b_desk.settings import (
    BEFORE_ANY_MARKET,
    BrokerSettings,
    DeskSettings,
    Durability,
    FundSettings,
    HeardSettings,
    ReplaySettings,
    SimulationSettings,
    StrategySettings,
)
from mts1b_desk.strategies.strategy import make_strategy

if TYPE_CHECKING:
    from mts1b_desk.data.summary import Summary

SIMULATED_SPEED = 10.0
"""Market seconds per second of a simulated market: the first trades come within seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What ``mts1b-desk run`` was asked for: its options, as they were typed."""

    data: Path | None
    replayed: str | None
    symbol: str | None
    utc: bool
    sort: bool
    signed_prices: list[str] | None
    speed: str | None
    fund: list[str] | None
    cash: str
    notional: str
    fast: int
    slow: int
    strategy: str
    interval: str | None
    latency_ms: int
    fee_bps: str
    tif: TimeInForce
    seed: int
    quotes: int | None
    state: Path | None
    database: str | None
    file: Path | None
    durability: Durability | None
    standby: bool | None
    start_within: float | None


def begun(asked: Asked) -> "tuple[DeskSettings, Summary | None]":
    """The settings of a new run, and what its files hold when it replays some.

    Raises:
        DeskError: an option makes no sense, or the files cannot be read.
        pydantic.ValidationError: a value is out of range.
    """
    if asked.data is not None and asked.replayed is not None:
        raise DeskError("a run has one market: leave --data out, or --replayed")
    base = DeskSettings.read(asked.file) if asked.file is not None else None
    signed = tuple(asked.signed_prices or (base.signed_prices if base else ()))
    source = _source_of(asked, base)
    summary = None
    if isinstance(source, ReplaySettings):
        source = held(source)
        summary = check(source, signed)
    usual = SIMULATED_SPEED if isinstance(source, SimulationSettings) else None
    wanted: dict[str, Any] = {
        "session": asked.replayed or secrets.token_hex(4),
        "source": source,
        "speed": _speed(asked.speed, usual if base is None or base.speed is None else base.speed),
        "state": asked.state.resolve() if asked.state is not None else None,
        "database": asked.database,
        "signed_prices": signed,
        "durability": asked.durability or (base.durability if base else Durability.DURABLE),
        "standby": asked.standby if asked.standby is not None else base.standby if base else False,
    }
    if isinstance(source, HeardSettings):
        wanted |= {"speed": None, "market_start": BEFORE_ANY_MARKET}
    if summary is not None:
        wanted["market_start"] = summary.first
    if asked.start_within is not None:
        wanted["start_within"] = asked.start_within
    if base is not None:
        if summary is not None and summary.interval is not None:
            wanted["intervals"] = (summary.interval,)
        return DeskSettings.model_validate({**dict(base), **wanted}), summary
    cash, notional = _decimal("--cash", asked.cash), _decimal("--notional", asked.notional)
    return DeskSettings(
        funds=tuple(_fund(name, cash, notional, asked.strategy) for name in asked.fund or ["alpha"]),
        brokers=(BrokerSettings(latency_ms=asked.latency_ms, fee_bps=_decimal("--fee-bps", asked.fee_bps)),),
        strategies=(StrategySettings(name=asked.strategy, fast=asked.fast, slow=asked.slow),),
        intervals=(_interval(asked.interval, summary),),
        time_in_force=asked.tif,
        **wanted,
    ), summary


def resumed(stored: Path, asked: Asked) -> DeskSettings:
    """The settings of the run whose state is kept beside ``stored``, to be gone on with.

    Raises:
        DeskError: it is not one of what was asked for, or its files have changed.
    """
    settings = DeskSettings.read(stored)
    source = settings.source
    if asked.data is not None and not (isinstance(source, ReplaySettings) and source.path == asked.data.resolve()):
        raise DeskError(
            f"{stored.parent} holds session {settings.session}, which is a {source_of(settings)}, not one of "
            f"{asked.data}: leave --data out to go on with it, or name an empty directory to begin another"
        )
    if isinstance(source, ReplaySettings):
        from mts1b_desk.data.digest import check_unchanged

        check_unchanged(source)
    changed: dict[str, Any] = {"servers": None}  # the server may have moved: it is found as for a new run
    if asked.speed is not None:
        changed["speed"] = _speed(asked.speed, None)
    if asked.start_within is not None:
        changed["start_within"] = asked.start_within
    if asked.standby is not None:
        changed["standby"] = asked.standby
    return settings.model_copy(update=changed)


def on_servers(settings: DeskSettings, servers: str | None) -> DeskSettings:
    """The run on these servers, where some are named.

    Raises:
        DeskError: what it is to keep, where it is to run and what it trades on do not go together.
    """
    if settings.durability is Durability.RELAXED and (servers or settings.state or settings.database):
        raise DeskError(
            "a relaxed run keeps nothing, on a server of its own: leave --servers, --state and --database out, or "
            "--durability relaxed"
        )
    if settings.standby and settings.durability is Durability.RELAXED:
        raise DeskError("a relaxed run keeps nothing that a standby could go on from: leave one of the two out")
    if settings.standby and isinstance(settings.source, HeardSettings):
        raise DeskError("replayed quotes are heard once, and a standby could not go on: leave --standby out")
    for each in settings.strategies:
        make_strategy(each)  # a name that no plugin has is said here, not by a process that dies
    return settings.model_copy(update={"servers": tuple(servers.split(","))}) if servers else settings


def check(source: ReplaySettings, signed: Iterable[str]) -> "Summary":
    """Read the files to their end; what they hold.

    Raises:
        DataError: at the first row that is wrong.
    """
    from mts1b_desk.data.replay import Replay  # it loads pyarrow

    return Replay(source, signed).check()


def held(source: ReplaySettings) -> ReplaySettings:
    """``source``, and what its files hold now."""
    from mts1b_desk.data.digest import digest_of

    return source.model_copy(update={"digest": digest_of(source.path)}) if source.path.exists() else source


def _source_of(asked: Asked, base: DeskSettings | None) -> ReplaySettings | SimulationSettings | HeardSettings:
    if asked.data is not None:
        return ReplaySettings(path=asked.data.resolve(), symbol=asked.symbol, utc=asked.utc, sort=asked.sort)
    if asked.replayed is not None:
        return HeardSettings()
    return base.source if base is not None else SimulationSettings(seed=asked.seed, quotes=asked.quotes)


def _decimal(option: str, text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise DeskError(f"{option} {text!r} is no number; write it like 100000 or 0.5") from None


def _fund(name: str, cash: Decimal, notional: Decimal, strategy: str) -> FundSettings:
    """A fund whose limits leave room for a reversal from short to long and some slippage."""
    limit = notional * Decimal("2.5")
    return FundSettings(
        fund_id=name,
        cash=cash,
        strategy=strategy,
        order_notional=notional,
        max_order_notional=limit,
        max_position_notional=limit,
    )


def _speed(text: str | None, default: float | None) -> float | None:
    if text is None:
        return default
    try:
        return speed(text)
    except ValueError:
        raise DeskError(
            f"--speed {text!r} is no speed; write `max`, or market seconds per second such as 1 or 20"
        ) from None


def _interval(text: str | None, summary: "Summary | None") -> str:
    if summary is not None and summary.interval is not None:
        if text not in (None, summary.interval):
            raise DeskError(f"the file has bars of {summary.interval}; --interval {text} cannot be made of them")
        return summary.interval
    try:
        duration(text or "1s")
    except ValueError as error:
        raise DeskError(f"--interval: {error}") from None
    return text or "1s"
