"""The chart: one panel of horizontal bars for each section, drawn as SVG without any library."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from harness import Section

WIDTH, LABELS, VALUES = 860, 270, 170
BAR, GAP, HEAD, MARGIN = 18, 6, 40, 16
OURS, THEIRS, INK, FAINT = "#1f6feb", "#9aa4b2", "#1f2328", "#59636e"


@dataclass(frozen=True)
class Panel:
    """What of a section is drawn."""

    key: str
    figure: str
    title: str
    form: str
    unit: str


PANELS = (
    Panel("core", "rate", "Core NATS, typed quotes end to end", ",.0f", "messages a second"),
    Panel("latency 1000", "sub_p99", "Core NATS, p99 latency at 1,000/s", ".3f", "ms, less is better"),
    Panel("latency 5000", "sub_p99", "Core NATS, p99 latency at 5,000/s", ".3f", "ms, less is better"),
    Panel("publish", "rate", "JetStream publish, an ack each", ",.0f", "messages a second"),
    Panel("consume", "rate", "JetStream consume, validate, ack", ",.0f", "messages a second"),
    Panel("end to end", "rate", "Durable end to end, two processes", ",.0f", "messages a second"),
    Panel("fsync", "rate", "JetStream publish, durable on fsync", ",.0f", "messages a second"),
)


def draw(sections: Sequence[Section], caption: str) -> str:
    """The chart of what was measured; ``caption`` says where."""
    by_key = {section.key: section for section in sections}
    parts: list[str] = []
    top = MARGIN
    for panel in PANELS:
        if panel.key in by_key and (bars := _bars(panel, by_key[panel.key])):
            parts += _panel(panel, bars, top)
            top += HEAD + len(bars) * (BAR + GAP) + MARGIN
    parts.append(_text(MARGIN, top + 8, caption, size=11, colour=FAINT))
    height = top + 8 + MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" role="img" font-family="system-ui, sans-serif">\n'
        f"<title>How fast the bus is beside its peers</title>\n"
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _bars(panel: Panel, section: Section) -> list[tuple[str, float, bool]]:
    found = [(o.contestant.name, o.median(panel.figure), o.contestant.ours) for o in section.outcomes]
    return [bar for bar in found if math.isfinite(bar[1])]


def _panel(panel: Panel, bars: Sequence[tuple[str, float, bool]], top: int) -> list[str]:
    room = WIDTH - LABELS - VALUES - MARGIN
    longest = _longest([value for _, value, _ in bars])
    lines = [
        _text(MARGIN, top + 16, panel.title, size=15, weight=600),
        _text(WIDTH - MARGIN, top + 16, panel.unit, size=11, colour=FAINT, anchor="end"),
    ]
    for number, (name, value, ours) in enumerate(bars):
        y = top + HEAD - 10 + number * (BAR + GAP)
        length = max(1, round(min(1.0, value / longest) * room))
        cut = " (bar cut short)" if value > longest else ""
        lines.append(_text(LABELS - 8, y + 13, name, size=12, anchor="end", weight=600 if ours else 400))
        lines.append(
            f'<rect x="{LABELS}" y="{y}" width="{length}" height="{BAR}" rx="2" fill="{OURS if ours else THEIRS}"/>'
        )
        lines.append(_text(LABELS + length + 6, y + 13, format(value, panel.form) + cut, size=12))
    return lines


def _longest(values: Sequence[float]) -> float:
    """The value that fills the panel; one far beyond all others is cut short, or they could not be told apart."""
    *others, most = sorted(values)
    second = others[-1] if others else most
    return (1.25 * second if most > 10 * second > 0 else most) or 1.0


def _text(
    x: float, y: float, words: str, *, size: int, colour: str = INK, anchor: str = "start", weight: int = 400
) -> str:
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" font-weight="{weight}" fill="{colour}" text-anchor="{anchor}">'
        f"{escape(words)}</text>"
    )
