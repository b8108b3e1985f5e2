"""The figures of a soak, and how they are shown."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median

from soak_clients import Times
from soak_leaks import Held

_COLUMNS = "{:22} {:>5} {:>6}  {:>15}  {:>18}  {:>17}"


@dataclass(slots=True)
class Figures:
    """What a soak has found."""

    seconds: float = 0.0
    times: Mapping[str, Times] = field(default_factory=dict[str, Times])
    reconnects: int = 0
    looks: list[Held] = field(default_factory=list[Held])
    """What the process held, at each look."""
    orders: dict[str, float] = field(default_factory=dict[str, float])
    quotes: dict[str, int] = field(default_factory=dict[str, int])
    questions: Counter[str] = field(default_factory=Counter[str])
    warnings: Counter[str] = field(default_factory=Counter[str])
    complaints: list[str] = field(default_factory=list[str])


def report(figures: Figures) -> str:
    """Everything, a line each."""
    faults = sum(times.faults for times in figures.times.values())
    lines = [
        f"{faults} faults in {figures.seconds:.0f} s, {figures.reconnects} reconnects; seconds as median / most",
        _COLUMNS.format("fault", "times", "breaks", "connected again", "without connection", "orders flow again"),
    ]
    for kind, times in sorted(figures.times.items()):
        spreads = map(_spread, (times.recoveries, times.outages, times.flows))
        lines.append(_COLUMNS.format(kind, times.faults, times.breaks, *spreads))
    for title, numbers in (("orders", figures.orders), ("quotes", figures.quotes), ("questions", figures.questions)):
        lines.append(f"{title}: " + ", ".join(f"{what} {_number(number)}" for what, number in numbers.items()))
    lines.append("warnings: " + ", ".join(f"{count} {what}" for what, count in figures.warnings.most_common()))
    looks = figures.looks
    if looks:
        named = zip(("start", "middle", "end"), (looks[0], looks[len(looks) // 2], looks[-1]), strict=True)
        lines += [f"{when:6} {look.line()}" for when, look in named]
    lines += [f"!!! {complaint}" for complaint in figures.complaints] or ["no complaint"]
    return "\n".join(lines)


def _spread(seconds: list[float]) -> str:
    return f"{median(seconds):.2f} / {max(seconds):.2f}" if seconds else "-"


def _number(number: float) -> str:
    return f"{number:.1f} s" if isinstance(number, float) else str(number)
