"""A report as one HTML page that needs nothing else: style, charts and their library are inside it."""

# plotly ships no types; what leaves this module is typed.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportMissingTypeStubs=false

from collections.abc import Iterable, Sequence
from html import escape

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs
from plotly.subplots import make_subplots

from mts1b_desk.report.curve import Point
from mts1b_desk.report.figures import FundReport, Report
from mts1b_desk.report.markdown import POSITIONS, SUMMARY, TRADES, drawdown, position_rows, summary, trade_rows

_TRADES = 2_000
"""Most trades of a fund that the page lists; the JSON document holds all."""
_POINTS = 4_000
"""Most points of a curve that are drawn."""
_STYLE = """
:root { color-scheme: light dark; --line: #0002; --head: #fff; --dim: #595959; }
@media (prefers-color-scheme: dark) { :root { --line: #fff3; --head: #121212; --dim: #a6a6a6; } }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 72rem; padding: 1rem; background: var(--head); }
h1 { font-size: 1.6rem; margin: .5rem 0 0; } h2 { margin: 2.5rem 0 0; overflow-wrap: anywhere; }
h3 { font-size: 1rem; margin: 1.25rem 0 .25rem; } p { margin: .25rem 0; color: var(--dim); }
table { border-collapse: collapse; font-size: .9rem; }
th, td { border-bottom: 1px solid var(--line); padding: .2rem .9rem .2rem 0; text-align: right; white-space: nowrap; }
td { font-variant-numeric: tabular-nums; }
th { font-weight: 600; background: var(--head); position: sticky; top: 0; }
th:first-child, td:first-child { text-align: left; }
.wide { overflow: auto; max-height: 26rem; margin-right: -1rem; }
.chart { margin: .5rem -.5rem; }
.side { display: flex; flex-wrap: wrap; column-gap: 4rem; }
"""
_SCRIPT = """
const dark = matchMedia('(prefers-color-scheme: dark)');
const axes = ['xaxis', 'xaxis2', 'xaxis3', 'yaxis', 'yaxis2', 'yaxis3'];
function paint() {
  const ink = dark.matches ? '#e0e0e0' : '#262626', line = dark.matches ? '#3a3a3a' : '#e2e2e2';
  const change = {'font.color': ink};
  for (const axis of axes) { change[axis + '.gridcolor'] = line; change[axis + '.zerolinecolor'] = line; }
  for (const chart of document.querySelectorAll('.js-plotly-plot')) Plotly.relayout(chart, change);
}
dark.addEventListener('change', paint); paint();
"""
"""Charts in the colours of the page."""


def page(report: Report) -> str:
    """The page. It loads nothing from the network."""
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
        f"<title>Session {escape(report.session)}</title>",
        f"<style>{_STYLE}</style><script>{get_plotlyjs()}</script></head><body><main>",
        f"<h1>Session {escape(report.session)}</h1>",
        f"<p>{report.first:%Y-%m-%d %H:%M:%S} to {report.last:%Y-%m-%d %H:%M:%S} UTC, market time</p>",
        "<h2>Funds</h2>",
        _scrolled("Funds", _table(SUMMARY, map(summary, report.funds))),
        *(_fund(number, fund) for number, fund in enumerate(report.funds)),
        f"</main><script>{_SCRIPT}</script></body></html>",
    ]
    return "\n".join(parts)


def _fund(number: int, fund: FundReport) -> str:
    notes = "" if fund.final else "<p>The session was not over: values are as the treasury had them by then.</p>"
    shown = min(len(fund.trades), _TRADES)
    name = escape(fund.fund_id)
    rejections = ((rule, f"{count}") for rule, count in fund.rejections.items())
    trades = f"Trades ({shown} of {len(fund.trades)})" if fund.trades else "Trades"
    return "\n".join(
        (
            f'<section aria-label="{name}"><h2>{name}</h2><p>{drawdown(fund)}</p>{notes}',
            f'<div class="chart">{_chart(number, fund)}</div>' if fund.trades or fund.positions else "",
            '<div class="side"><div><h3>Positions</h3>',
            _scrolled(f"Positions of {name}", _table(POSITIONS, position_rows(fund))),
            "</div><div><h3>Rejected orders</h3>",
            _table(("reason", "orders"), rejections),
            f"</div></div><h3>{trades}</h3>",
            _scrolled(f"Trades of {name}", _table(TRADES, trade_rows(fund, _TRADES))),
            "</section>",
        )
    )


def _scrolled(label: str, table: str) -> str:
    """A table in a box of its own, which the keyboard scrolls too."""
    return f'<div class="wide" role="group" tabindex="0" aria-label="{label}">{table}</div>'


def _chart(number: int, fund: FundReport) -> str:
    """Equity, drawdown and exposure over market time, one below the other."""
    points = _thinned(fund.points)
    times = [point.at for point in points]
    figure = make_subplots(
        rows=3,
        shared_xaxes=True,
        vertical_spacing=0.07,
        row_heights=[0.5, 0.2, 0.3],
        subplot_titles=("Net asset value", "Drawdown, %", "Exposure"),
    )
    lines = (
        ("NAV", 1, "#3b82f6", [float(point.nav) for point in points], None),
        ("drawdown", 2, "#ef4444", [-100 * float(point.drawdown) for point in points], "tozeroy"),
        ("gross exposure", 3, "#14b8a6", [float(point.gross) for point in points], None),
        ("net exposure", 3, "#a855f7", [float(point.net) for point in points], None),
    )
    for name, row, color, values, fill in lines:
        line = {"shape": "hv", "width": 1.5, "color": color}
        figure.add_trace(go.Scatter(x=times, y=values, name=name, mode="lines", line=line, fill=fill), row=row, col=1)
    figure.update_layout(
        height=620,
        margin={"l": 8, "r": 8, "t": 28, "b": 8},
        hovermode="x",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        legend={"orientation": "h", "y": -0.08},
    )
    figure.update_xaxes(tickangle=0, nticks=6, automargin=True)
    figure.update_yaxes(automargin=True, nticks=6)
    config = {"displaylogo": False, "displayModeBar": False, "responsive": True}
    html: str = figure.to_html(full_html=False, include_plotlyjs=False, div_id=f"fund-{number}", config=config)
    return html


def _thinned(points: Sequence[Point]) -> Sequence[Point]:
    """As many points as can be seen, with the greatest drawdown and the last among them."""
    step = -(-len(points) // _POINTS)
    if step <= 1:
        return points
    worst = max(range(len(points)), key=lambda number: points[number].drawdown)
    chosen = sorted({*range(0, len(points), step), worst, len(points) - 1})
    return [points[number] for number in chosen]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    titles = "".join(f'<th scope="col">{escape(title)}</th>' for title in head)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    empty = f'<tr><td colspan="{len(head)}">none</td></tr>'
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{body or empty}</tbody></table>"
