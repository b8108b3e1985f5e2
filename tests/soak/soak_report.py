"""The figures of a soak as a table."""

from collections.abc import Iterable
from statistics import median

from soak_leaks import Held
from soak_run import Figures

_COLUMNS = "{:22} {:>5} {:>6}  {:>15}  {:>18}  {:>17}"


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
        lines.append(f"{title}: " + ", ".join(f"{what} {number}" for what, number in _exact(numbers.items())))
    lines.append("warnings: " + ", ".join(f"{count} {what}" for what, count in figures.warnings.most_common()))
    if figures.looks:
        lines += [f"{when:6} {look.line()}" for when, look in _three(figures.looks)]
    lines += [f"!!! {complaint}" for complaint in figures.complaints] or ["no complaint"]
    return "\n".join(lines)


def _spread(seconds: list[float]) -> str:
    return f"{median(seconds):.2f} / {max(seconds):.2f}" if seconds else "-"


def _exact(items: Iterable[tuple[str, float]]) -> list[tuple[str, str]]:
    return [(what, f"{number:.1f} s" if isinstance(number, float) else str(number)) for what, number in items]


def _three(looks: list[Held]) -> list[tuple[str, Held]]:
    return [("start", looks[0]), ("middle", looks[len(looks) // 2]), ("end", looks[-1])]
