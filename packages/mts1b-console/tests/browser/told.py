"""What is told of events: one opened, many found, the story of an order, a letter, a schema."""

from mts1b_console.shapes.events import EventOpened, EventsFound, Missing, OrderFacts, Searched, Story, StoryEvent
from mts1b_console.shapes.registry import SchemaChange, SchemaFound
from mts1b_console.shapes.state import LetterOpened
from scenery import TRACE, TRACEBACK, WRONG, at, event, letter_row, payload, readers


def letter_opened(name: str, hostile: str | None) -> LetterOpened:
    return LetterOpened(
        read_at=at(),
        letter=letter_row(name, 3),
        event=event(12_050, hostile),
        payload_text=payload(hostile),
        truncated=False,
        headers={"mts-schema": WRONG.got or "", "mts-trace-id": TRACE},
        passes=False,
        refused=WRONG,
        traceback=TRACEBACK,
    )


def opened(hostile: str | None) -> EventOpened:
    """An event, whole."""
    return EventOpened(
        read_at=at(),
        event=event(12_044, hostile),
        payload_text=payload(hostile),
        truncated=False,
        headers={
            "mts-schema": "mts1b_foundation.orders.Order:v1",
            "mts-trace-id": TRACE,
            "mts-actor": hostile or "ma_cross",
        },
        model={
            "properties": {
                "order_id": {"description": "The order."},
                "fund_id": {"description": "Whose order it is."},
            }
        },
        readers=readers(behind=True),
    )


def found(query: dict[str, str], hostile: str | None) -> EventsFound:
    start = 200 if query.get("cursor") else 0
    rows = [event(12_044 - start - n, hostile) for n in range(200)]
    return EventsFound(
        read_at=at(),
        query=query.get("q", ""),
        problems=[],
        events=rows,
        cursor=None if start else "next",
        searched=Searched(
            how="search",
            looked_at=200_000,
            of=1_204_110,
            complete=bool(start),
            back_to=at(3_600),
            streams=["OMS_ORDERS"],
            skipped={"TREASURY_NAV": "not for your role"},
        ),
    )


def story(kind: str, value: str, facts: OrderFacts) -> Story:
    steps = [
        ("research.signals.published", "research", "RESEARCH_SIGNALS", 4, 0.0, "BUY BTC/USD ma_cross"),
        ("oms.orders.created.fund.alpha", "oms", "OMS_ORDERS", 12_043, 6.0, "BUY 0.25 BTC/USD created"),
        ("risk.gate.passed.fund.alpha", "riskengine", "RISK", 5, 3.1, "passed: notional 16,030"),
        ("oms.orders.accepted.fund.alpha", "oms", "OMS_ORDERS", 12_044, 4.4, "BUY 0.25 BTC/USD accepted"),
    ]
    ago, events = 41.0 + 0.0135, list[StoryEvent]()
    for number, (subject, by, stream, seq, after, summary) in enumerate(steps):
        ago -= after / 1000
        each = event(seq, None).model_copy(
            update={
                "id": f"{stream}:{seq}",
                "t": at(ago),
                "stream": stream,
                "subject": f"mts.v1.{subject}",
                "by": f"mts1b-{by}",
                "summary": summary,
            }
        )
        who = readers(behind=number == 3)
        events.append(
            StoryEvent(
                event=each,
                after_ms=after if number else None,
                linked_by=["order_id", "trace_id"] if number else ["trace_id"],
                readers=who,
            )
        )
    missing = Missing(
        after="OMS_ORDERS:12044",
        expects=["mts.v1.brokers.{broker}.fills.raw", "mts.v1.brokers.{broker}.orders.canceled"],
        words="fill, cancel or rejection",
        by="mts1b-brokers",
        waiting_seconds=41.0,
        usual_seconds=0.4,
        late=True,
        kind="nobody_reads",
        durable="broker-orders",
        stream="OMS_ORDERS",
        lag_seconds=41.2,
        why="broker-orders has reached 12,031, the event is 12,044; nobody reads it since 03:12:01Z",
        do=["start mts1b-brokers, or see why it hangs", "mts1b lag --stream OMS_ORDERS"],
    )
    return Story(
        read_at=at(),
        kind=f"{kind}_id",
        value=value,
        order=facts if kind == "order" else None,
        events=events,
        missing=[missing] if kind == "order" else [],
        hidden={"TREASURY_NAV": "not for your role"},
        readers_known=True,
        searched=Searched(
            how="index", looked_at=4, of=4, complete=True, back_to=at(1), streams=["OMS_ORDERS"], skipped={}
        ),
    )


def schema_found(name: str) -> SchemaFound:
    return SchemaFound(
        read_at=at(),
        schema_id=name,
        description="An order and what became of it.",
        document={"properties": {}, "required": ["order_id"]},
        fields={
            "order_id": "text, 1 to 200 letters: the order",
            "quantity": "decimal above 0, text of digits",
            "venue": "text",
        },
        versions=["mts1b_foundation.orders.Order:v1", "mts1b_foundation.orders.Order:v2"],
        subjects=["mts.v1.oms.orders.created"],
        against="mts1b_foundation.orders.Order:v1",
        changes=[SchemaChange(path="venue", compatibility="breaking", words="field added, readers of v1 refuse it")],
    )
