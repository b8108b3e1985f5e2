"""A report as Markdown: tables, for pull requests and notes."""

from collections.abc import Iterable, Sequence
from decimal import Decimal

from mts1b_desk.money import plain
from mts1b_desk.report.figures import FundReport, Report

_TRADES = 50
"""Most trades of a fund that are listed."""


SUMMARY = (
    *("fund", "NAV", "greatest drawdown", "trades", "rejected", "realised", "unrealised", "fees", "cash"),
    *("gross exposure", "net exposure"),
)
"""What is said of a fund in a row."""
POSITIONS = ("symbol", "units", "price", "value")
"""What is said of a position."""
TRADES = ("time", "symbol", "side", "quantity", "price", "fee")
"""What is said of a trade."""


def markdown(report: Report) -> str:
    """The report as one Markdown document; of many trades the last ones."""
    lines = [
        f"# Session {report.session}",
        "",
        f"{report.first:%Y-%m-%d %H:%M:%S} to {report.last:%Y-%m-%d %H:%M:%S} UTC, market time.",
        "",
        *_table(
            SUMMARY,
            (summary(fund) for fund in report.funds),
        ),
    ]
    for fund in report.funds:
        lines += ["", f"## {_cell(fund.fund_id)}", "", drawdown(fund), ""]
        lines += _table(POSITIONS, position_rows(fund))
        if fund.rejections:
            lines += ["", *_table(("rejected for", "orders"), ((rule, f"{n}") for rule, n in fund.rejections.items()))]
        shown = fund.trades[-_TRADES:]
        if len(shown) < len(fund.trades):
            lines += ["", f"The last {len(shown)} of {len(fund.trades)} trades:"]
        lines += ["", *_table(TRADES, trade_rows(fund, _TRADES))]
    return "\n".join(lines) + "\n"


def trade_rows(fund: FundReport, most: int) -> Iterable[Sequence[str]]:
    """The last trades of a fund: time, symbol, side, quantity, price, fee."""
    for trade in fund.trades[-most:]:
        at = f"{trade.at:%Y-%m-%d %H:%M:%S.%f}"[:-3]
        yield at, trade.symbol, trade.side, plain(trade.quantity), plain(trade.price), plain(trade.fee)


def position_rows(fund: FundReport) -> Iterable[Sequence[str]]:
    """What a fund holds: symbol, units, price, value."""
    for symbol, held in fund.positions.items():
        yield symbol, plain(held), plain(fund.marks[symbol]), amount(held * fund.marks[symbol])


def amount(value: Decimal) -> str:
    """An amount of money to two places; the JSON document has every digit."""
    return f"{value:z,.2f}"


def summary(fund: FundReport) -> Sequence[str]:
    """One fund in a row, under ``SUMMARY``."""
    last = fund.points[-1]
    counts = (f"{len(fund.trades)}", f"{sum(fund.rejections.values())}")
    amounts = (fund.realised_pnl, fund.unrealised_pnl, fund.fees, fund.cash, last.gross, last.net)
    return (fund.fund_id, amount(fund.nav), _per_cent(fund.max_drawdown), *counts, *map(amount, amounts))


def drawdown(fund: FundReport) -> str:
    """The greatest drawdown of a fund, and when it was."""
    if not (fund.trades or fund.positions):
        return "The fund did not trade."
    if not fund.max_drawdown:
        return "The fund was never worth less than before."
    at = f"{fund.max_drawdown_at:%Y-%m-%d %H:%M:%S} UTC"
    return f"Greatest drawdown: {_per_cent(fund.max_drawdown)} on {at}."


def _per_cent(share: Decimal) -> str:
    return f"{share * 100:.2f} %"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows]
    return [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *(lines or [f"| none{' |' * len(head)}"])]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
