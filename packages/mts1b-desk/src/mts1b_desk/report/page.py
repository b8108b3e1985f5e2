"""A report as one HTML page that needs nothing else: style, charts and their library are inside it."""

# plotly ships no types; what leaves this module is typed.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportMissingTypeStubs=false

from collections.abc import Iterable, Sequence
from html import escape

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs
from plotly.subplots import make_subplots

from mts1b_desk.money import plain
from mts1b_desk.report.figures import FundReport, Report
from mts1b_desk.report.markdown import SUMMARY, summary, trade_rows

_TRADES = 2_000
"""Most trades of a fund that the page lists; the JSON document holds all."""
_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 68rem; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { border-bottom: 1px solid #8886; padding: .25rem .75rem; text-align: right; }
td { font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { text-align: left; }
.wide { overflow-x: auto; }
.trades { max-height: 28rem; overflow: auto; }
.chart { background: #fff; border-radius: 6px; }
.note { color: #888; }
"""


def page(report: Report) -> str:
    """The page. It loads nothing from the network."""
    parts = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>Session {escape(report.session)}</title>',
        f"<style>{_STYLE}</style><script>{get_plotlyjs()}</script></head><body>",
        f"<h1>Session {escape(report.session)}</h1>",
        f"<p>{report.first:%Y-%m-%d %H:%M:%S} to {report.last:%Y-%m-%d %H:%M:%S} UTC, market time.</p>",
        f'<div class="wide">{_table(SUMMARY, map(summary, report.funds))}</div>',
        *(_fund(number, fund) for number, fund in enumerate(report.funds)),
        "</body></html>",
    ]
    return "\n".join(parts)


def _fund(number: int, fund: FundReport) -> str:
    notes = "" if fund.final else '<p class="note">The session was not over: there is no final valuation yet.</p>'
    shown = min(len(fund.trades), _TRADES)
    rejections = ((rule, f"{count}") for rule, count in fund.rejections.items())
    positions = ((symbol, plain(held)) for symbol, held in fund.positions.items())
    return "\n".join(
        (
            f"<h2>{escape(fund.fund_id)}</h2>{notes}",
            f'<div class="chart">{_chart(number, fund)}</div>',
            "<h3>Positions</h3>",
            _table(("symbol", "units"), positions),
            "<h3>Rejected orders</h3>",
            _table(("reason", "orders"), rejections),
            f"<h3>Trades ({shown} of {len(fund.trades)})</h3>",
            '<div class="trades">',
            _table(("time", "symbol", "side", "quantity", "price", "fee"), trade_rows(fund, _TRADES)),
            "</div>",
        )
    )


def _chart(number: int, fund: FundReport) -> str:
    """Equity, drawdown and exposure over market time, one below the other."""
    times = [point.at for point in fund.points]
    figure = make_subplots(
        rows=3,
        shared_xaxes=True,
        vertical_spacing=0.06,
        row_heights=[0.5, 0.2, 0.3],
        subplot_titles=("Net asset value", "Drawdown, %", "Exposure"),
    )
    lines = (
        ("NAV", 1, [float(point.nav) for point in fund.points], None),
        ("drawdown", 2, [-100 * float(point.drawdown) for point in fund.points], "tozeroy"),
        ("gross", 3, [float(point.gross) for point in fund.points], None),
        ("net", 3, [float(point.net) for point in fund.points], None),
    )
    for name, row, values, fill in lines:
        line = {"shape": "hv", "width": 1.5}
        figure.add_trace(go.Scatter(x=times, y=values, name=name, mode="lines", line=line, fill=fill), row=row, col=1)
    figure.update_layout(
        height=620, margin={"l": 70, "r": 20, "t": 40, "b": 40}, hovermode="x", template="plotly_white"
    )
    config = {"displaylogo": False, "responsive": True}
    html: str = figure.to_html(full_html=False, include_plotlyjs=False, div_id=f"fund-{number}", config=config)
    return html


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    titles = "".join(f"<th>{escape(title)}</th>" for title in head)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    empty = f'<tr><td colspan="{len(head)}">none</td></tr>'
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{body or empty}</tbody></table>"
