"""How commands are built and how they print: aligned text for people, ``--json`` for programs."""

import json
import sys
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from shutil import get_terminal_size
from textwrap import wrap
from typing import Annotated, Any

import typer

from mts1b_platform.command_line import WIDTH
from mts1b_platform.command_line import noun as noun

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
"""The option that every listing has."""


def say(text: str = "") -> None:
    """One line for people, on standard output; there at once, also when it is a pipe or a file."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def print_json(value: object) -> None:
    """``value`` as indented JSON; what JSON does not know is printed as its text."""
    say(json.dumps(value, indent=2, default=str))


def print_table(rows: Sequence[Mapping[str, Any]], *, empty: str = "nothing to show") -> None:
    """``rows`` as aligned columns under the names of the first row's keys; ``empty`` when there are none.

    What is too wide for the terminal (100 columns where there is none) goes on below, in its column. Words are never
    cut, as they are there to be copied: a table of long words is wider.
    """
    if not rows:
        say(empty)
        return
    names = list(rows[0])
    cells = [[name.upper() for name in names], *([_cell(row.get(each)) for each in names] for row in rows)]
    widths = _widths(cells, get_terminal_size((WIDTH, 24)).columns)
    for row in cells:
        wrapped = [_lines(cell, width) for cell, width in zip(row, widths, strict=True)]
        for line in zip_longest(*wrapped, fillvalue=""):
            say("  ".join(part.ljust(width) for part, width in zip(line, widths, strict=True)).rstrip())


def _widths(cells: Sequence[Sequence[str]], available: int) -> list[int]:
    """Widths of the columns: the widest are made narrower until all fit, down to their longest words."""
    columns = list(zip(*cells, strict=True))
    widths = [max(map(len, column)) for column in columns]
    least = [max(len(word) for cell in column for word in cell.split() or [""]) for column in columns]
    excess = sum(widths) + 2 * (len(widths) - 1) - available
    while excess > 0:
        widest = max(range(len(widths)), key=lambda each: (widths[each] > least[each]) * widths[each])
        if widths[widest] <= least[widest]:
            break
        others = [width for each, width in enumerate(widths) if each != widest and width > least[each]]
        step = min(excess, max(1, widths[widest] - max(others, default=0)), widths[widest] - least[widest])
        widths[widest] -= step
        excess -= step
    return widths


def _lines(cell: str, width: int) -> list[str]:
    if len(cell) <= width:
        return [cell]
    return wrap(cell, width, break_long_words=False, break_on_hyphens=False)


def print_listing(
    rows: Sequence[Mapping[str, Any]],
    *,
    as_json: bool,
    empty: str = "nothing to show",
    columns: Sequence[str] | None = None,
) -> None:
    """A listing in the form that was asked for; ``columns`` are those of the table, JSON has all."""
    if as_json:
        print_json(list(rows))
    else:
        print_table([{name: row.get(name) for name in columns or row} for row in rows], empty=empty)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "-"  # pyright: ignore[reportUnknownArgumentType,reportUnknownVariableType]
    return str(value)
