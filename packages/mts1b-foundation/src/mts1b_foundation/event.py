"""The base of every payload, and the field types that payloads share.

Payloads are frozen (safe to hand around), strict (no silent coercion), and refuse fields that they do not
know. Timestamps carry the zone UTC; a naive or differently zoned one is refused by the validator itself, in
Rust, so that it costs nothing on the hot path. Money and quantities are ``Decimal`` and travel as strings.
"""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, StringConstraints
from pydantic_core import core_schema


class _Utc:
    """Pins a datetime field to the zone UTC inside pydantic's core."""

    def __get_pydantic_core_schema__(self, source: type[Any], handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.datetime_schema(tz_constraint=0)


UtcDatetime = Annotated[datetime, _Utc()]
"""A point in time, zone UTC, microsecond resolution. Naive values and other offsets are refused."""

Identifier = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[!-~]+$")]
"""A name that also travels in headers: 1 to 200 printable ASCII characters, no spaces."""

Symbol = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""An instrument as its market spells it (``BTC/USDT``, ``BRK.B``); subjects encode it into one token."""

Text = Annotated[str, StringConstraints(min_length=1, max_length=2000)]
"""Words for people: a reason, a description."""

Quantity = Annotated[Decimal, Field(gt=0, max_digits=38)]
"""A positive amount in units of the instrument (coins, shares, contracts)."""

Price = Annotated[Decimal, Field(gt=0, max_digits=38)]
"""A positive price in the fund's currency per unit of the instrument."""

Money = Annotated[Decimal, Field(max_digits=60)]
"""A signed amount in the fund's currency."""

NonNegative = Annotated[Decimal, Field(ge=0, max_digits=60)]
"""An amount that is never negative; the field says of what."""


class Event(BaseModel):
    """Base of every payload that travels on the bus."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    schema_version: ClassVar[int] = 1
    """Version of this payload's schema; a change that is not fully compatible raises it."""

    @classmethod
    def schema_id(cls) -> str:
        """The value of the ``mts-schema`` header, such as ``mts1b_foundation.orders.Order:v1``."""
        return f"{cls.__module__}.{cls.__qualname__}:v{cls.schema_version}"


def utc_now() -> datetime:
    """The present moment with the zone UTC, as every timestamp of a payload wants it."""
    return datetime.now(UTC)
