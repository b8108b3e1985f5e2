"""What a run of the desk is made of: one frozen document that every service of the run reads.

``mts1b-desk run`` makes it from its options and hands it to its services as a file; who starts services one by one
writes such a file (``mts1b-desk settings`` prints the defaults). Money is in each fund's currency, which is the quote
currency of the symbols that it trades.
"""

from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from mts1b_foundation.event import Identifier, Money, NonNegative, Price, Quantity, Symbol, UtcDatetime
from mts1b_foundation.marketdata import Interval
from mts1b_foundation.orders import TimeInForce
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mts1b_desk.errors import DeskError
from mts1b_desk.intervals import duration

SIMULATION_START = datetime(2024, 1, 1, tzinfo=UTC)
"""Market time at which the simulated market opens: fixed, so that a seed gives the same market every day."""

BEFORE_ANY_MARKET = datetime(1970, 1, 1, tzinfo=UTC)
"""When a run begins whose first quote is not known."""

READERS = ("research", "brokers", "treasury")
"""The services that read market data, which a replay at full speed waits for."""


class Durability(StrEnum):
    """What a run keeps."""

    DURABLE = "durable"
    """Everything: state and streams survive whatever is killed."""
    RELAXED = "relaxed"
    """Nothing: state and streams are in memory, on a server of the run's own, and end with it."""


_MOST = 10**9
"""Most of what is counted here."""
_LONGEST_MS = 1_000 * 86_400_000
"""A thousand days."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FundSettings(_Frozen):
    """One fund: what it starts with, how much it trades, and the limits that risk holds it to."""

    fund_id: Identifier
    cash: NonNegative = Decimal(100_000)
    """Cash at the start of the session."""
    strategy: Identifier = "ma_cross"
    """The strategy whose signals the fund follows."""
    order_notional: NonNegative = Decimal(10_000)
    """Value of the position that a long or short signal asks for."""
    broker: Identifier = "paper"
    max_order_notional: NonNegative = Decimal(25_000)
    max_position_notional: NonNegative = Decimal(25_000)
    max_orders_per_minute: Annotated[int, Field(ge=0)] = 600
    max_drawdown: Annotated[Decimal, Field(ge=0, le=1)] = Decimal("0.2")


class BrokerSettings(_Frozen):
    """How the paper broker behaves."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")] = "paper"
    latency_ms: Annotated[int, Field(ge=0, le=_LONGEST_MS)] = 50
    """Market time between an order and the first quote that it can trade with."""
    fee_bps: Money = Decimal(1)
    """Commission in basis points of the traded value; negative for a rebate."""
    fee_quantum: Price = Decimal("0.00000001")
    """Commissions are rounded half up to this."""
    max_quantity: Quantity | None = None
    """Largest order that the broker takes; it rejects larger ones."""
    history: Annotated[int, Field(ge=1, le=_MOST)] = 1_000
    """Quotes kept per symbol for orders that arrive later than the quotes they trade with."""


class StrategySettings(_Frozen):
    """One strategy that research runs on every symbol: a plugin's name and its numbers."""

    name: Identifier = "ma_cross"
    fast: Annotated[int, Field(ge=1, le=_MOST)] = 3
    slow: Annotated[int, Field(ge=2, le=_MOST)] = 8

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.fast >= self.slow:
            raise ValueError(f"fast ({self.fast}) must be smaller than slow ({self.slow})")
        return self


class ReplaySettings(_Frozen):
    """Market data from a file, or from the files of a folder."""

    kind: Literal["replay"] = "replay"
    path: Path
    symbol: Symbol | None = None
    """The instrument, for a file without a symbol column; derived from the file's name when left out. Of a folder, or a
    file with such a column, the only one that is read."""
    utc: bool = False
    """Read times without a zone as UTC instead of refusing them."""
    sort: bool = False
    """Sort the rows by time, in memory, instead of refusing those that are out of order."""
    digest: str | None = None
    """What the files held when the session began; a session whose files have changed is not gone on with."""


class SimulationSettings(_Frozen):
    """A seeded random market; every quote of it says ``simulated``."""

    kind: Literal["simulated"] = "simulated"
    seed: int = 1
    symbols: tuple[Symbol, ...] = ("BTC/USD", "ETH/USD")
    quotes: Annotated[int, Field(ge=1)] | None = None
    """Quotes until the session closes; None goes on until told to stop."""
    tick_ms: Annotated[int, Field(ge=1, le=_LONGEST_MS)] = 50
    """Market time between two quotes of the whole market, on average."""


class HeardSettings(_Frozen):
    """The quotes of another run, as they are replayed on the bus (`mts1b events replay`).

    The run has the other one's session, as its quotes name it.
    """

    kind: Literal["heard"] = "heard"


class DeskSettings(_Frozen):
    """One run of the desk."""

    session: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")]
    """Names the run: part of every id that it makes, so that two runs of the same data do not collide."""
    servers: tuple[str, ...] | None = None
    """NATS URLs; None: from the environment or ``mts1b.toml``."""
    funds: Annotated[tuple[FundSettings, ...], Field(min_length=1)] = (FundSettings(fund_id="alpha"),)
    brokers: Annotated[tuple[BrokerSettings, ...], Field(min_length=1)] = (BrokerSettings(),)
    strategies: Annotated[tuple[StrategySettings, ...], Field(min_length=1)] = (StrategySettings(),)
    source: ReplaySettings | SimulationSettings | HeardSettings = Field(
        default_factory=SimulationSettings, discriminator="kind"
    )
    speed: Annotated[float, Field(gt=0)] | None = None
    """Market seconds per second; None: as fast as the readers follow."""
    intervals: Annotated[tuple[Interval, ...], Field(min_length=1)] = ("1s",)
    """Lengths of the bars that marketdata makes; research reads the first."""
    signed_prices: tuple[Symbol, ...] = ()
    """Symbols whose prices may be zero or negative."""
    lot: Quantity = Decimal("0.0001")
    """Order quantities are multiples of this."""
    time_in_force: TimeInForce = TimeInForce.IOC
    nav_interval_ms: Annotated[int, Field(ge=1, le=_LONGEST_MS)] = 10_000
    """Market time between two NAV snapshots of a fund without a fill."""
    market_start: UtcDatetime = SIMULATION_START
    """Time of the first quote: when the first risk envelopes take effect."""
    after: tuple[str, ...] = ()
    """Services that must be ready before the market opens."""
    readers: tuple[str, ...] = READERS
    """Services that a replay at full speed waits for."""
    state: Path | None = None
    """Directory in which the services keep their state, a SQLite file each; None: for as long as they run."""
    durability: Durability = Durability.DURABLE
    database: str | None = None
    """PostgreSQL URL to keep it in instead; ``{service}`` in it stands for the service, each of which has its own."""
    keep: bool = True
    """Whether the run can be gone on with after its end; False when ``state`` goes with it."""
    window: Annotated[int, Field(ge=1, le=_MOST)] = 2_000
    """Quotes that marketdata publishes at full speed before it looks how far the readers are."""
    start_within: Annotated[float, Field(gt=0)] = 30.0
    """Seconds that the services of a run may take to become ready."""
    deaths_within: Annotated[float, Field(gt=0)] = 20.0
    """A service that ends by itself five times within so many seconds is not started again: the run is over."""

    standby: bool = False
    """Whether each service may run several times: one instance works, the others take over when it ends."""

    @property
    def kept(self) -> bool:
        """Whether the run can be gone on with after its end."""
        return self.keep and (self.state is not None or self.database is not None)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.database is not None and "{service}" not in self.database:
            raise ValueError(
                "database must hold {service}, as in postgresql://localhost/desk_{service}: each service has its own"
            )
        for interval in self.intervals:
            duration(interval)
        _unique("fund", [fund.fund_id for fund in self.funds])
        _unique("broker", [broker.name for broker in self.brokers])
        _unique("strategy", [strategy.name for strategy in self.strategies])
        for fund in self.funds:
            if fund.broker not in {broker.name for broker in self.brokers}:
                raise ValueError(f"fund {fund.fund_id} trades with broker {fund.broker!r}, which the desk does not run")
            if fund.strategy not in {strategy.name for strategy in self.strategies}:
                raise ValueError(f"fund {fund.fund_id} follows strategy {fund.strategy!r}, which the desk does not run")
        return self

    @classmethod
    def read(cls, path: Path) -> Self:
        """The settings in the JSON file at ``path``.

        Raises:
            DeskError: when the file cannot be read or says something that makes no sense.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise DeskError(
                f"{path} cannot be read: {error.strerror}; `mts1b-desk settings` prints a file to start from"
            ) from error
        except ValidationError as error:
            raise DeskError(f"{path} holds no settings of a desk: {explain(error)}") from None


def explain(error: ValidationError) -> str:
    """A validation error in one line: each place and what is wrong with it."""
    return "; ".join(
        f"{'.'.join(str(part) for part in detail['loc']) or 'settings'}: {detail['msg'].removeprefix('Value error, ')}"
        for detail in error.errors()
    )


def _unique(what: str, names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{what} {name!r} is named twice")
