"""A report as Markdown: tables, for pull requests and notes."""

from collections.abc import Iterable, Sequence

from mts1b_desk.money import plain
from mts1b_desk.report.figures import FundReport, Report

_TRADES = 50
"""Most trades of a fund that are listed."""


SUMMARY = (
    *("fund", "NAV", "cash", "realised", "unrealised", "fees", "gross exposure", "net exposure", "greatest drawdown"),
    *("trades", "rejected"),
)
"""What is said of a fund in a row."""


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
        lines += ["", f"## {_cell(fund.fund_id)}", ""]
        lines += _table(("position", "units"), ((symbol, plain(held)) for symbol, held in fund.positions.items()))
        if fund.rejections:
            lines += ["", *_table(("rejected for", "orders"), ((rule, f"{n}") for rule, n in fund.rejections.items()))]
        shown = fund.trades[-_TRADES:]
        if len(shown) < len(fund.trades):
            lines += ["", f"The last {len(shown)} of {len(fund.trades)} trades:"]
        lines += ["", *_table(("time", "symbol", "side", "quantity", "price", "fee"), trade_rows(fund, _TRADES))]
    return "\n".join(lines) + "\n"


def trade_rows(fund: FundReport, most: int) -> Iterable[Sequence[str]]:
    """The last trades of a fund: time, symbol, side, quantity, price, fee."""
    for trade in fund.trades[-most:]:
        at = f"{trade.at:%Y-%m-%d %H:%M:%S.%f}"[:-3]
        yield at, trade.symbol, trade.side, plain(trade.quantity), plain(trade.price), plain(trade.fee)


def summary(fund: FundReport) -> Sequence[str]:
    """One fund in a row, under ``SUMMARY``."""
    last = fund.points[-1]
    amounts = (fund.nav, fund.cash, fund.realised_pnl, fund.unrealised_pnl, fund.fees, last.gross, last.net)
    counts = (len(fund.trades), sum(fund.rejections.values()))
    return (fund.fund_id, *(plain(amount) for amount in amounts), _drawdown(fund), *(f"{count}" for count in counts))


def _drawdown(fund: FundReport) -> str:
    """The greatest drawdown of a fund, in per cent, and when it was."""
    share = f"{fund.max_drawdown * 100:.2f} %"
    return f"{share} ({fund.max_drawdown_at:%Y-%m-%d %H:%M:%S})" if fund.max_drawdown else share


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows]
    return [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *(lines or [f"| none{' |' * len(head)}"])]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
