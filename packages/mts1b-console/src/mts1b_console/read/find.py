"""The palette: where a text may lead. What looks like a name goes to its page at once; nothing is searched here."""

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

from mts1b_foundation.subjects import registry

from mts1b_console.person.person import Person
from mts1b_console.read.answer import now
from mts1b_console.read.orders import Blotter
from mts1b_console.read.survey import Looked
from mts1b_console.shapes.registry import Hit, Hits

MOST: Final = 30
_TRACE: Final = re.compile(r"[0-9a-f]{32}")
_PLACE: Final = re.compile(r"([A-Z][A-Z0-9_]*):(\d{1,18})")
_LETTER: Final = re.compile(r"[A-Z][A-Z0-9_]*:\d+:[^:]+(:[0-9a-f]+)?")
_HALT: Final = re.compile(r"halt-[0-9a-f]+")
_NAME: Final = re.compile(r"[!-~]{1,400}")


def find(person: Person, text: str) -> Hits:
    """Where ``text`` may lead, the likeliest first."""
    text = text.strip()[:400]
    hits = [] if not text else list(dict.fromkeys((*_by_form(text), *_by_part(person, text))))[:MOST]
    return Hits(read_at=now(), hits=hits)


def _by_form(text: str) -> Iterator[Hit]:
    if _TRACE.fullmatch(text):
        yield Hit(kind="trace", title=text, detail="everything in this trace", href=f"/trace/{text}")
    if place := _PLACE.fullmatch(text):
        yield Hit(kind="event", title=text, detail="a stored event", href=f"/event/{place[1]}/{place[2]}")
    elif _LETTER.fullmatch(text):
        href = f"/deadletters?letter={quote(text, safe='')}"
        yield Hit(kind="deadletter", title=text, detail="a dead letter", href=href)
    if _HALT.fullmatch(text):
        yield Hit(kind="halt", title=text, detail="the story of this halt", href=f"/halt/{text}")
    if _NAME.fullmatch(text) and not _TRACE.fullmatch(text) and text not in {each.pattern for each in registry()}:
        yield Hit(kind="order", title=text, detail="the story of this order", href=f"/order/{quote(text, safe='')}")


def _by_part(person: Person, text: str) -> Iterator[Hit]:
    wanted = text.casefold()
    blotter = person.kept.get("blotter")
    if isinstance(blotter, Blotter):
        for name, line in reversed(list(blotter.lines.items())):
            if wanted in name.casefold() and name != text:
                order = line.order
                detail = f"{order.side.value} {order.quantity} {order.symbol} {order.fund_id}: {order.status.value}"
                yield Hit(kind="order", title=name, detail=detail, href=f"/order/{quote(name, safe='')}")
    for subject in registry():
        if wanted in subject.pattern.casefold():
            href = f"/subjects/{quote(subject.pattern, safe='')}"
            yield Hit(kind="subject", title=subject.pattern, detail=subject.description, href=href)
    for name in sorted({subject.schema_id for subject in registry()}):
        if wanted in name.casefold():
            yield Hit(kind="schema", title=name, detail="a schema", href=f"/schemas/{quote(name, safe='')}")
    for producer in sorted({subject.producer for subject in registry()}):
        if wanted in producer.casefold():
            yield Hit(kind="service", title=producer, detail="a service", href=f"/services?service={producer}")
    looked = person.kept.get("survey")
    if isinstance(looked, Looked) and looked.survey is not None:
        for name in sorted(looked.survey.streams):
            if wanted in name.casefold():
                yield Hit(kind="stream", title=name, detail="a stream", href=f"/streams/{quote(name, safe='')}")
        for lag in looked.survey.lags:
            if wanted in lag.consumer.casefold():
                href = f"/consumers/{quote(lag.stream, safe='')}/{quote(lag.consumer, safe='')}"
                detail = f"reads {lag.stream}"
                yield Hit(kind="consumer", title=lag.consumer, detail=detail, href=href)
    yield Hit(kind="search", title=text, detail="search stored events", href=f"/events?q={quote(text, safe='')}")
