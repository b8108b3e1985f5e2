"""The base of every payload, and the field types that payloads share.

Payloads are frozen (safe to hand around), strict (no silent coercion), and refuse fields that they do not
know. Timestamps carry the zone UTC: one without a zone, of another offset, or of a zone that is UTC in winter only is
refused, and in JSON every spelling that the schema's pattern does not have. Money and quantities are ``Decimal`` and
travel as strings: a JSON number is refused, because it would pass through a double and lose digits on the way; a zero
with more digits than can be written is refused as well.
"""

import time
from base64 import b64decode, b64encode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Final, cast

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, StringConstraints
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import core_schema

_DECIMAL: Final = r"^-?[0-9]+(\.[0-9]+)?([Ee][+-]?[0-9]+)?$"
_INSTANT: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|\+00:00)$"
_SPELLING: Final = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?"
    r"(Z|\+[0-9]{2}:[0-9]{2}|-(0[1-9]|[1-9][0-9]):[0-9]{2}|-00:(0[1-9]|[1-9][0-9]))?$"
)
"""How an instant is spelt, whatever its offset: other offsets than zero are refused in words of their own."""
_EXPONENT: Final = 99
"""The largest exponent of a zero, either way; that of another number is held by its digits."""
_NO_OFFSET: Final = timedelta(0)
_LIMITS: Final = {"gt": "x-exclusiveMinimum", "ge": "x-minimum", "lt": "x-exclusiveMaximum", "le": "x-maximum"}
"""JSON Schema compares numbers only; the limits of a decimal string are written under names of our own."""


def refuse_other_zones(at: datetime) -> datetime:
    """``at`` when its zone is UTC at any time of the year; London is not, in winter either.

    Raises:
        ValueError: it is another zone.
    """
    if at.tzinfo is UTC or (at.tzinfo is not None and at.tzinfo.utcoffset(None) == _NO_OFFSET):
        return at
    raise ValueError(f"the zone {at.tzinfo} is not UTC all year; convert with astimezone(UTC)")


def refuse_endless_zeros(value: Decimal) -> Decimal:
    """``value`` unless it is a zero that would be written with more digits than fit anywhere.

    Raises:
        ValueError: it is one.
    """
    if not value and abs(cast("int", value.as_tuple().exponent)) > _EXPONENT:
        raise ValueError(f"a zero with the exponent {value.as_tuple().exponent} has too many digits; write 0")
    return value


class _Utc:
    """Pins a datetime field to the zone UTC inside pydantic's core; JSON is held to the spelling of the pattern."""

    def __get_pydantic_core_schema__(self, source: type[Any], handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        instant = core_schema.datetime_schema(tz_constraint=0)
        spelt = core_schema.str_schema(pattern=_SPELLING)
        lenient = core_schema.datetime_schema(tz_constraint=0, strict=False)
        return core_schema.json_or_python_schema(
            core_schema.chain_schema([spelt, lenient]),
            core_schema.no_info_after_validator_function(refuse_other_zones, instant),
        )

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {**handler(core_schema.datetime_schema(tz_constraint=0)), "pattern": _INSTANT}


class _Exact:
    """Makes a Decimal field travel as a string of digits, and nothing else."""

    def __get_pydantic_core_schema__(self, source: type[Any], handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        exact = handler(source)
        lenient = cast("core_schema.CoreSchema", {**exact, "strict": False})
        digits = core_schema.str_schema(pattern=_DECIMAL)
        return core_schema.json_or_python_schema(
            core_schema.chain_schema([digits, _written_out(lenient)]), _written_out(exact)
        )

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        found = cast("Mapping[str, Any]", schema)
        while "python_schema" not in found:  # a validator of the field stands around it
            found = found["schema"]
        exact = cast("Mapping[str, Any]", found["python_schema"]["schema"])
        limits = {name: str(exact[key]) for key, name in _LIMITS.items() if key in exact}
        digits = {"x-maxDigits": exact["max_digits"]} if "max_digits" in exact else {}
        return {"type": "string", "format": "decimal", "pattern": _DECIMAL, **limits, **digits}


def _written_out(schema: core_schema.CoreSchema) -> core_schema.CoreSchema:
    return core_schema.no_info_after_validator_function(refuse_endless_zeros, schema)


class _Base64:
    """Bytes in Python, standard base64 (RFC 4648 section 4, padded) in JSON."""

    def __get_pydantic_core_schema__(self, source: type[Any], handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.json_or_python_schema(
            core_schema.no_info_after_validator_function(_decode_base64, core_schema.str_schema()),
            core_schema.bytes_schema(),
            serialization=core_schema.plain_serializer_function_ser_schema(_encode_base64, when_used="json"),
        )

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"type": "string", "contentEncoding": "base64"}


def _decode_base64(text: str) -> bytes:
    return b64decode(text, validate=True)


def _encode_base64(data: bytes) -> str:
    return b64encode(data).decode()


UtcDatetime = Annotated[datetime, _Utc()]
"""A point in time, zone UTC, microsecond resolution. Naive values and other offsets are refused."""

Identifier = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[!-~]+$")]
"""A name that also travels in headers: 1 to 200 printable ASCII characters, no spaces."""

Symbol = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""An instrument as its market spells it (``BTC/USDT``, ``BRK.B``); subjects encode it into one token."""

Text = Annotated[str, StringConstraints(min_length=1, max_length=2000)]
"""Words for people: a reason, a description."""

Quantity = Annotated[Decimal, Field(gt=0, max_digits=38), _Exact()]
"""A positive amount in units of the instrument (coins, shares, contracts)."""

Price = Annotated[Decimal, Field(gt=0, max_digits=38), _Exact()]
"""A positive price in the fund's currency per unit of the instrument."""

SignedPrice = Annotated[Decimal, Field(max_digits=38), _Exact()]
"""A price that may be zero or negative, as those of power, spreads and of crude oil in April 2020 have been."""

Notional = Annotated[Decimal, Field(max_digits=100), _Exact()]
"""A sum of prices times quantities, signed, in the fund's currency: enough digits for all of both."""

Money = Annotated[Decimal, Field(max_digits=60), _Exact()]
"""A signed amount in the fund's currency."""

NonNegative = Annotated[Decimal, Field(ge=0, max_digits=60), _Exact()]
"""An amount that is never negative; the field says of what."""

Fraction = Annotated[Decimal, Field(ge=0, le=1, max_digits=38), _Exact()]
"""A share of something between 0 and 1: 0.2 is 20 %."""


Bytes = Annotated[bytes, _Base64()]
"""Bytes as they are; standard base64 in JSON."""


class Event(BaseModel):
    """Base of every payload that travels on the bus."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    schema_version: ClassVar[int] = 1
    """Version of this payload's schema; a change that is not fully compatible raises it."""

    @classmethod
    def schema_name(cls) -> str:
        """The schema without its version; the old model kept beside a new one overrides it to keep the name."""
        return f"{cls.__module__}.{cls.__qualname__}"

    @classmethod
    def schema_id(cls) -> str:
        """The value of the ``mts-schema`` header, such as ``mts1b_foundation.orders.Order:v1``."""
        return f"{cls.schema_name()}:v{cls.schema_version}"


def utc_now() -> datetime:
    """The present moment with the zone UTC, as every timestamp of a payload wants it.

    It is that of ``time.time()``: in a simulated world that of the world.
    """
    return datetime.fromtimestamp(time.time(), UTC)
