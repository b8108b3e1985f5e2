"""What was measured, for people on the terminal, for programs as JSON, and for the documentation as Markdown."""

import json
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

from harness import Column, Outcome, Section
from rich.console import Console
from rich.table import Table
from targets import Verdict

HEADINGS = ("measure", "asked", "measured", "reached?", "floor")


def show(section: Section) -> None:
    """Print one section."""
    shown = Table(title=section.title, caption=section.note or None, caption_justify="left")
    shown.add_column("contestant", overflow="fold")
    for heading in _headings(section):
        shown.add_column(heading, justify="right")
    for outcome in section.outcomes:
        shown.add_row(outcome.contestant.name, *_cells(section, outcome))
    _console().print(shown)
    for outcome in section.outcomes:
        if not outcome.rounds:
            _console().print(f"  {outcome.contestant.name}: absent: {outcome.failure}", style="yellow", markup=False)
        elif outcome.failure:
            _console().print(f"  {outcome.contestant.name}: cut short: {outcome.failure}", style="red", markup=False)


def show_verdicts(verdicts: Sequence[Verdict]) -> None:
    """Print what was aimed at beside what was reached."""
    shown = Table(title="Targets")
    for heading in HEADINGS:
        shown.add_column(heading, justify="left" if heading == "measure" else "right")
    for verdict in verdicts:
        style = {"yes": "green", "no": "red"}.get(verdict.reached, "yellow")
        shown.add_row(verdict.measure, verdict.target, verdict.measured, verdict.reached, verdict.floor, style=style)
    _console().print(shown)


def document(
    machine: dict[str, Any], command: str, sections: Sequence[Section], verdicts: Sequence[Verdict]
) -> dict[str, Any]:
    """Everything, with every round of every contestant, for whoever wants to judge the spread."""
    return {
        "machine": machine,
        "command": command,
        "sections": [_section(section) for section in sections],
        "targets": [verdict.__dict__ for verdict in verdicts],
    }


def as_json(whole: dict[str, Any]) -> str:
    """The document as text; what was not measured is null."""
    return json.dumps(_finite(whole), indent=1, allow_nan=False) + "\n"


def as_markdown(machine: dict[str, Any], command: str, sections: Sequence[Section], verdicts: Sequence[Verdict]) -> str:
    """Tables to include in a page."""
    return "\n".join(_lines(machine, command, sections, verdicts)) + "\n"


def into_page(page: str, machine: dict[str, Any], command: str, tables: str) -> str:
    """``page`` with the ``tables`` in the place of those with their headings; new ones stand before the first ``## ``.

    Below each stands when, where and how it was measured: those of one page may be of different runs.
    """
    origin = f"*{machine['date']}, {machine['cpu']}, {machine['cores']} cores, Python {machine['python']}: `{command}`*"
    for block in tables.split("\n### ")[1:]:
        title, _, rows = block.partition("\n")
        made = f"### {title}\n\n{rows.strip()}\n\n{origin}\n\n"
        held = re.search(rf"^### {re.escape(title)}\n.*?(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)
        if held is None:
            held = re.search(r"(?=^## |\Z)", page, re.MULTILINE)
        assert held is not None
        page = page[: held.start()] + made + page[held.end() :]
    return page.rstrip("\n") + "\n"


def _lines(
    machine: dict[str, Any], command: str, sections: Sequence[Section], verdicts: Sequence[Verdict]
) -> Iterator[str]:
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    yield (
        f"Measured with `{command}` on {machine['date']}: {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['system']}, Python {machine['python']}; {versions}. Medians of the rounds; CPU is that of the "
        "client process alone, unless it says otherwise."
    )
    yield from ("", "### Targets", "", *_table(HEADINGS, map(_row, verdicts)))
    for section in sections:
        rows = [[outcome.contestant.name, *_cells(section, outcome)] for outcome in section.outcomes]
        yield from ("", f"### {section.title}", "", *_table(["contestant", *_headings(section)], rows))
        absent = [f"{o.contestant.name}: {o.failure}" for o in section.outcomes if not o.rounds]
        if absent:
            yield from ("", "Absent: " + "; ".join(absent) + ".")
        if section.note:
            yield from ("", section.note)


def _row(verdict: Verdict) -> list[str]:
    return [verdict.measure, verdict.target, verdict.measured, verdict.reached, verdict.floor]


def _table(headings: Sequence[str], rows: "Iterator[list[str]] | list[list[str]]") -> Iterator[str]:
    yield f"| {' | '.join(headings)} |"
    yield f"|---{'|--:' * (len(headings) - 1)}|"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', '/') for cell in row)} |"


def _headings(section: Section) -> list[str]:
    compared = [f"x {section.base}"] if section.base else []
    return [*(column.heading for column in section.columns), *compared]


def _cells(section: Section, outcome: Outcome) -> list[str]:
    if not outcome.rounds:
        return ["absent", *[""] * (len(_headings(section)) - 1)]
    cells = [_cell(column, outcome) for column in section.columns]
    if section.base:
        ratio = outcome.median(section.compared) / section.median(section.base, section.compared)
        cells.append("" if math.isnan(ratio) else f"{ratio:.2f}")
    return cells


def _cell(column: Column, outcome: Outcome) -> str:
    value = outcome.median(column.figure)
    return "" if math.isnan(value) else format(value, column.form)


def _section(section: Section) -> dict[str, Any]:
    return {
        "key": section.key,
        "title": section.title,
        "base": section.base,
        "note": section.note,
        "contestants": [
            {
                "name": outcome.contestant.name,
                "ours": outcome.contestant.ours,
                "failure": outcome.failure,
                "medians": {column.figure: outcome.median(column.figure) for column in section.columns},
                "rounds": outcome.rounds,
            }
            for outcome in section.outcomes
        ],
    }


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list):
        return [_finite(each) for each in value]  # pyright: ignore[reportUnknownVariableType]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _console() -> Console:
    return Console(width=None if Console().is_terminal else 140)
