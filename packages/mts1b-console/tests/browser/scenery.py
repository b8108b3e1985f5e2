"""What stands on the stage whatever is played: orders, events, letters, the registry."""

import json
import time
from datetime import UTC, datetime
from typing import Any, Final

from mts1b_console.shapes.events import EventRow, NavPoint, ReaderState, Refusal
from mts1b_console.shapes.registry import Hit, SchemaRow, SubjectReader, SubjectRow
from mts1b_console.shapes.state import LetterRow

ORDER: Final = "186ab989.ma_cross.BTC=2FUSD.2.alpha"
TRACE: Final = "bd3b1f60aa3c4d5e9f00112233445566"
WRONG: Final = Refusal(
    reason="schema_mismatch",
    why="schema Order:v2, this subject carries Order:v1",
    wanted="mts1b_foundation.orders.Order:v1",
    got="mts1b_foundation.orders.Order:v2",
)
LETTERS: Final = 37
TRACEBACK: Final = """\
Traceback (most recent call last):
  File "treasury/service.py", line 88, in handle
    price = cash / quantity
ZeroDivisionError: division by zero
"""


def at(ago: float = 0.0) -> str:
    """A moment so many seconds ago."""
    return datetime.fromtimestamp(time.time() - ago, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def row(number: int, hostile: str | None) -> tuple[int, int, str, str, int]:
    """A row of the tail."""
    symbols = ("BTC=2FUSD", "ETH=2FUSD", "USDJPY", "BRK=2EB")
    refused = number % 997 == 0
    text = hostile or f"bid 64,{number % 1000:03}.5 x 2.1, ask 64,{(number + 1) % 1000:03}.5 x 0.4"
    return number, int(time.time() * 1000), f"marketdata.quotes.{symbols[number % 4]}", text, int(refused)


def event(seq: int, hostile: str | None) -> EventRow:
    refused = WRONG if seq % 41 == 0 else None
    return EventRow(
        id=f"OMS_ORDERS:{seq}",
        t=at((12_050 - seq) * 3.7),
        stream="OMS_ORDERS",
        seq=seq,
        subject="mts.v1.oms.orders.accepted.fund.alpha",
        pattern="mts.v1.oms.orders.accepted",
        by="mts1b-oms",
        actor=hostile or "ma_cross",
        schema_id="mts1b_foundation.orders.Order:v1",
        summary=hostile or (f"refused: {WRONG.why}" if refused else "BUY 0.25 BTC/USD accepted"),
        keys={"order_id": ORDER},
        fund=hostile or "alpha",
        trace=TRACE,
        refused=refused,
        size=512,
    )


def payload(hostile: str | None) -> str:
    if hostile:
        return json.dumps({"order_id": hostile, hostile[:200]: hostile, "list": [hostile] * 3})
    return (
        f'{{"order_id": "{ORDER}", "fund_id": "alpha", "quantity": "0.25", "price": 64123.500000000000000001,'
        ' "sequence": 9007199254740993,'
        ' "legs": [{"venue": "paper", "size": "0.25", "tags": {"a": [1, 2, 3]}}], "note": null}'
    )


def readers(*, behind: bool) -> list[ReaderState]:
    def one(durable: str, service: str, *, late: bool = False) -> ReaderState:
        return ReaderState(
            durable=durable,
            service=service,
            state="waiting" if late else "handled",
            reached=12_031 if late else 12_050,
            behind=13 if late else 0,
            unsettled=0,
            redelivered=0,
            pulls=0 if late else 1,
            last_active=at(43 if late else 1),
            paused=False,
            lag_seconds=41.2 if late else 0.0,
        )

    return [one("risk-orders", "mts1b-riskengine"), one("broker-orders", "mts1b-brokers", late=behind)]


def letter_row(name: str, number: int) -> LetterRow:
    stream, seq, consumer = name.split(":")
    return LetterRow(
        number=number,
        id=name,
        reason="schema_mismatch",
        subject="mts.v1.oms.orders.created",
        stream=stream,
        sequence=int(seq),
        consumer=consumer,
        deliveries=1,
        error="Order:v2 is not Order:v1",
        stored_at=at(12 + number * 30),
        failed_at=at(12 + number * 30),
        requeues=0,
        keys={"order_id": ORDER},
        note=None,
    )


def subjects() -> list[SubjectRow]:
    def one(
        pattern: str, producer: str, payload: str, stream: str, words: str, readers: tuple[str, ...] = ()
    ) -> SubjectRow:
        return SubjectRow(
            pattern=f"mts.v1.{pattern}",
            description=words,
            producer=f"mts1b-{producer}",
            payload=f"mts1b_foundation.{payload}:v1",
            tier="at-least-once" if stream else "best-effort",
            message_id="{order_id}" if stream else None,
            forms=[f"mts.v1.{pattern}"],
            streams=[stream] if stream else [],
            replaces=None,
            readers=[
                SubjectReader(stream=stream, durable=f"{each}-{pattern.split('.')[1]}", service=f"mts1b-{each}")
                for each in readers
            ],
        )

    return [
        one(
            "oms.orders.created",
            "oms",
            "orders.Order",
            "OMS_ORDERS",
            "An order intent was recorded; risk decides next.",
            ("riskengine",),
        ),
        one(
            "oms.orders.accepted",
            "oms",
            "orders.Order",
            "OMS_ORDERS",
            "Risk let the order through; its broker works it.",
            ("brokers",),
        ),
        one(
            "oms.fills.created",
            "oms",
            "fills.Fill",
            "OMS_FILLS",
            "An execution was booked.",
            ("treasury", "riskengine"),
        ),
        one("marketdata.quotes.{symbol}", "marketdata", "marketdata.Quote", "", "Best bid and offer."),
    ]


def schemas() -> list[SchemaRow]:
    return [
        SchemaRow(
            schema_id=f"mts1b_foundation.{name}:v{version}", description="An order and what became of it.", subjects=7
        )
        for name in ("orders.Order", "fills.Fill", "marketdata.Quote")
        for version in (1, 2)
    ]


def records() -> list[dict[str, Any]]:
    return [
        {
            "chain": "mts1b-operations.1",
            "n": n,
            "at": at(n * 400),
            "kind": "action",
            "action": action,
            "actor": "olga",
            "reason": "oms/3 rolled back",
            "scope": "all",
        }
        for n, action in enumerate(("act.deadletters.requeue", "halt.requested", "halt.request", "halt.clear"))
    ]


def points() -> list[NavPoint]:
    return [
        NavPoint(
            t=at((300 - n) * 20), fund=fund, equity=f"{100_000 + offset + ((n * 37 + offset) % 113) * 4 + n * 3}.25"
        )
        for n in range(300)
        for fund, offset in (("alpha", 0), ("beta", 900))
    ]


def hits(text: str) -> list[Hit]:
    return (
        [Hit(kind="order", title=ORDER, detail="accepted, alpha", href=f"/order/{ORDER}")]
        if text and text in ORDER
        else []
    )
