"""The ledger: what every fund ended with, for people and for programs."""

from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.table import Table as View

from mts1b_desk.books import BrokerBook, OmsBook, TreasuryBook
from mts1b_desk.money import plain
from mts1b_desk.reconcile import Difference

_STATES = ("filled", "partially_filled", "canceled", "rejected", "accepted", "created")


def ledger_document(
    oms: OmsBook,
    brokers: BrokerBook,
    treasury: TreasuryBook,
    differences: list[Difference],
    *,
    session: str,
) -> dict[str, Any]:
    """The ledger as a document; money and quantities as decimal text, the same text for the same amount."""
    funds = {
        fund: {
            "cash": plain(holdings.cash),
            "nav": plain(holdings.nav),
            "positions": {symbol: plain(quantity) for symbol, quantity in holdings.positions.items()},
            "orders": oms.funds[fund].orders if fund in oms.funds else {},
            "rejections": oms.funds[fund].rejections if fund in oms.funds else {},
            "passed_over": oms.funds[fund].passed_over if fund in oms.funds else {},
            "fills": holdings.fills,
            "realised_pnl": plain(holdings.realised_pnl),
            "unrealised_pnl": plain(holdings.unrealised_pnl),
            "fees": plain(holdings.fees),
            "marks": {symbol: plain(mark) for symbol, mark in holdings.marks.items()},
        }
        for fund, holdings in sorted(treasury.funds.items())
    }
    return {
        "funds": funds,
        "reconciled": not differences and not brokers.working,
        "differences": [str(difference) for difference in differences],
        "session": session,
    }


def print_ledger(document: dict[str, Any], console: Console) -> None:
    """The ledger as tables."""
    source = f", {document['source']}" if "source" in document else ""
    if document.get("durability") == "relaxed":
        source += "; relaxed: its state and its streams were in memory"
    console.print(f"\n[bold]Ledger[/] of session {document['session']}{source}")
    trades, money = View(), View()  # two, so that no figure is cut on a narrow terminal
    refused = any(row["rejections"] for row in document["funds"].values())
    for title in ("fund", "orders", *(("rejected for",) if refused else ()), "fills", "position"):
        trades.add_column(title, justify="right" if title == "fills" else "left")
    for title in ("fund", "cash", "NAV", "realised", "unrealised", "fees"):
        money.add_column(title, justify="left" if title == "fund" else "right")
    for fund, row in document["funds"].items():
        orders = ", ".join(f"{row['orders'][state]} {state}" for state in _STATES if row["orders"].get(state))
        positions = "\n".join(f"{quantity} {symbol}" for symbol, quantity in row["positions"].items())
        rules = ", ".join(f"{count} {rule}" for rule, count in row["rejections"].items())
        trades.add_row(fund, orders or "none", *((rules,) if refused else ()), str(row["fills"]), positions or "flat")
        amounts = (row["cash"], row["nav"], row["realised_pnl"], row["unrealised_pnl"], row["fees"])
        money.add_row(fund, *(_cents(amount) for amount in amounts))
    console.print(trades)
    console.print(money)
    for fund, row in document["funds"].items():
        if row["passed_over"]:
            reasons = ", ".join(f"{count} {why}" for why, count in row["passed_over"].items())
            console.print(f"[yellow]passed over[/]: signals that fund {fund} could make no order of: {reasons}")
    if document["reconciled"]:
        console.print("[green]reconciled[/]: order management, brokers and treasury agree to the last digit")
    for difference in document["differences"]:
        console.print(f"[red]difference[/]: {difference}")


def _cents(amount: str) -> str:
    """An amount to two places, rounded as everywhere: ``--json`` has every digit."""
    return f"{Decimal(amount):z,.2f}"
