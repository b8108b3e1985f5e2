"""What a run shows while it goes: a live table on a terminal, else a line now and then; always on standard error."""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from mts1b_foundation.subjects import (
    MARKETDATA_BARS_V2,
    MARKETDATA_QUOTES_V2,
    OMS_FILLS_CREATED_V2,
    OMS_ORDERS_CREATED_V2,
    OMS_ORDERS_REJECTED_V2,
    RESEARCH_SIGNALS_PUBLISHED_V2,
)
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from mts1b_desk.books import TreasuryBook
from mts1b_desk.protocol import Status

_EVERY = 2.0
"""Seconds between two lines where there is no terminal."""


class ProgressView:
    """Shows the counters of a running desk."""

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = title
        self._live = Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None
        self._began = self._last = time.monotonic()

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, statuses: Mapping[str, Status], treasury: TreasuryBook | None) -> None:
        """The present state; at most every two seconds where lines are printed."""
        now = time.monotonic()
        if self._live is not None:
            self._live.update(self._table(statuses, treasury, now))
        elif now - self._last >= _EVERY:
            self._last = now
            self._console.print(self.line(statuses, treasury), highlight=False, soft_wrap=True)

    def line(self, statuses: Mapping[str, Status], treasury: TreasuryBook | None) -> str:
        """The present state in one line."""
        figures = ", ".join(f"{value} {name}" for name, value in _figures(statuses).items())
        funds = treasury.funds.items() if treasury is not None else ()
        navs = ", ".join(f"{fund} NAV {holdings.nav:,.2f}" for fund, holdings in funds)
        return f"{time.monotonic() - self._began:5.1f}s  {figures}, lag {_lag(statuses)} quotes  {navs}"

    def _table(self, statuses: Mapping[str, Status], treasury: TreasuryBook | None, now: float) -> Group:
        table = Table(title=self._title, title_justify="left")
        figures = _figures(statuses)
        for name in (*figures, "lag", "market time"):
            table.add_column(name, justify="right")
        at = statuses["marketdata"].market_time if "marketdata" in statuses else None
        lag = f"{_lag(statuses)} quotes"
        table.add_row(*(f"{value:,}" for value in figures.values()), lag, f"{at:%H:%M:%S}" if at else "-")
        funds = Table(show_edge=False)
        for name in ("fund", "fills", "cash", "NAV", "realised", "unrealised"):
            funds.add_column(name, justify="left" if name == "fund" else "right")
        for fund, held in treasury.funds.items() if treasury is not None else ():
            money = (held.cash, held.nav, held.realised_pnl, held.unrealised_pnl)
            funds.add_row(fund, str(held.fills), *(f"{amount:,.2f}" for amount in money))
        return Group(table, funds, Text(f"{now - self._began:.0f} s; Ctrl-C closes the session and prints the ledger"))


def _figures(statuses: Mapping[str, Status]) -> dict[str, int]:
    def published(service: str, pattern: str) -> int:
        return statuses[service].published.get(pattern, 0) if service in statuses else 0

    return {
        "quotes": published("marketdata", MARKETDATA_QUOTES_V2.pattern),
        "bars": published("marketdata", MARKETDATA_BARS_V2.pattern),
        "signals": published("research", RESEARCH_SIGNALS_PUBLISHED_V2.pattern),
        "orders": published("oms", OMS_ORDERS_CREATED_V2.pattern),
        "rejected": published("oms", OMS_ORDERS_REJECTED_V2.pattern),
        "fills": published("oms", OMS_FILLS_CREATED_V2.pattern),
    }


def _lag(statuses: Mapping[str, Status]) -> int:
    """Quotes that were published and that the slower of broker and treasury has not worked yet."""
    if "marketdata" not in statuses:
        return 0
    worked = [statuses[name].position for name in ("brokers", "treasury") if name in statuses]
    return max(0, statuses["marketdata"].position - min(worked, default=0))
