"""What blocks of code on the pages stand on: names that a page speaks of and does not make itself.

`test_docs.py` puts it before every block and has mypy read the whole.
"""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, ClassVar
from uuid import uuid4

import aiosqlite
import nats.micro
import typer
from mts1b_foundation.event import Event as Payload
from mts1b_foundation.event import Identifier, utc_now
from mts1b_foundation.fills import BrokerFill, Fill, FillV2
from mts1b_foundation.marketdata import Quote, QuoteV2
from mts1b_foundation.orders import Order, OrderV2, Side
from mts1b_foundation.signals import Direction
from mts1b_foundation.subjects import *
from mts1b_foundation.subjects.contributions import Contribution
from mts1b_foundation.upcasting import upcaster
from mts1b_platform.eventbus import *
from mts1b_platform.eventbus.consumers import *
from mts1b_platform.eventbus.dedupe.sqlite import SqliteDedupe
from mts1b_platform.service import Service

bus: EventBus
order: Order
orders: list[Order]
history: list[Order]
quote: Quote
fill: Fill
headers: dict[str, str]
data: bytes
store: SqliteDedupe
BELLS_RUNG: DurableSubject[Any]


def book(fill: Fill) -> None: ...


def price(quote: Quote | QuoteV2) -> None: ...


def on_quote(event: LiveEvent[Quote]) -> None: ...


async def books_are_open() -> str | None: ...
