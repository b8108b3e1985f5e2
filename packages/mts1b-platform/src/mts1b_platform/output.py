"""How commands are built and how they print: aligned text for people, ``--json`` for programs."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
"""The option that every listing has."""


def noun(summary: str) -> typer.Typer:
    """An app for one noun of ``mts1b``; its verbs are added with ``@app.command()``."""
    app = typer.Typer(
        help=summary, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
    )
    app.callback()(_group)
    return app


def _group() -> None:
    """Keeps a noun with a single verb a noun."""


def say(text: str = "") -> None:
    """One line for people, on standard output; there at once, also when it is a pipe or a file."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def print_json(value: object) -> None:
    """``value`` as indented JSON; what JSON does not know is printed as its text."""
    say(json.dumps(value, indent=2, default=str))


def print_table(rows: Sequence[Mapping[str, Any]], *, empty: str = "nothing to show") -> None:
    """``rows`` as aligned columns under the names of the first row's keys; ``empty`` when there are none."""
    if not rows:
        say(empty)
        return
    names = list(rows[0])
    cells = [[name.upper() for name in names], *([_cell(row.get(name)) for name in names] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def print_listing(rows: Sequence[Mapping[str, Any]], *, as_json: bool, empty: str = "nothing to show") -> None:
    """A listing in the form that was asked for."""
    if as_json:
        print_json(list(rows))
    else:
        print_table(rows, empty=empty)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "-"  # pyright: ignore[reportUnknownArgumentType,reportUnknownVariableType]
    return str(value)
