"""What the commands ``mts1b``, ``mts1b-deploy`` and ``mts1b-desk`` share: help, completion, errors and exit codes.

Exit codes: 0 done; 1 the answer is no, or it failed (standard error says why); 2 the command was misused; 130 stopped
by Ctrl-C. A command that has further ones names them in its help.
"""

import getpass
import os
import re
import sys
from collections.abc import Sequence
from datetime import timedelta
from inspect import cleandoc
from typing import Annotated, Any, Final

import typer
from mts1b_foundation.errors import Mts1bError
from typer.core import TyperGroup
from typer.main import get_command

WIDTH: Final = 100
"""Columns of help and tables where no terminal says how many it has."""

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_LONGEST: Final = 100 * 365 * 86_400
"""Most seconds that an option takes: a hundred years."""
_SETTINGS: Final = {"max_content_width": WIDTH, "help_option_names": ["--help", "-h"]}


class Group(TyperGroup):
    """A command with verbs; its help shows the first paragraph of each of them, whole."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of verbs."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, _first_paragraph(each.help)) for name, each in commands if each and not each.hidden]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


def root(summary: str, *, package: str, cls: type[Group] = Group) -> typer.Typer:
    """The app of a whole command, with completion and ``--version``; ``package`` is whose version it tells."""
    app = typer.Typer(
        cls=cls,
        help=summary,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings=_SETTINGS,
    )

    def show(context: typer.Context, wanted: bool) -> None:  # noqa: FBT001 - as typer calls it
        if wanted and not context.resilient_parsing:
            from importlib.metadata import version

            sys.stdout.write(f"{context.info_name} {version(package)}\n")
            raise typer.Exit

    @app.callback()
    def _root(
        *,
        _version: Annotated[
            bool, typer.Option("--version", "-V", callback=show, is_eager=True, help="Print the version, and end.")
        ] = False,
    ) -> None:
        """Take the options of the whole command."""

    return app


def noun(summary: str, *, verbs: bool = True) -> typer.Typer:
    """An app for one noun of a command.

    Its verbs are added with ``@app.command()``. With ``verbs=False`` it has none: the one function that is added is
    what the noun does, as ``mts1b lag``.
    """
    app = typer.Typer(
        cls=Group,
        help=summary,
        no_args_is_help=verbs,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings=_SETTINGS,
    )
    if verbs:
        app.callback()(_keep_group)
    return app


def _keep_group() -> None:
    """Keeps a noun with a single verb a noun."""


def run(app: typer.Typer, argv: Sequence[str], *, name: str) -> int:
    """Run ``app`` as the command ``name``; errors of the project become one line on standard error.

    Returns:
        The exit code. An error's own is its ``exit_code``, 1 without.
    """
    if argv[:1] == ["help"]:  # as git and docker have it
        argv = [*argv[1:], "--help"]
    try:
        code = _called(app, argv, name)
        sys.stdout.flush()
    except OSError as error:  # a file that is missing, a disk that is full, a reader of the output that has gone
        if _dropped_output() and isinstance(error, BrokenPipeError):
            return 1
        sys.stderr.write(f"{name}: {f'{error.filename}: ' if error.filename else ''}{error.strerror or error}\n")
        return 1
    return code


def _called(app: typer.Typer, argv: Sequence[str], name: str) -> int:
    try:
        get_command(app).main(args=list(argv), prog_name=name)
    except Mts1bError as error:
        sys.stderr.write(f"{name}: {error}\n")
        return int(getattr(error, "exit_code", 1))
    except SystemExit as ending:
        return ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    return 0


def _dropped_output() -> bool:
    """Whether output is left that cannot be written; it is dropped, as Python would fail on it again at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def user() -> str | None:
    """The user logged in; None in a container without a user database."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None


def duration(text: str, units: str = "smhd") -> timedelta | None:
    """A whole number of at least 1 and one of ``units``, such as ``10m``; None when it is no such time, or too long."""
    match = re.fullmatch(rf"([1-9]\d*)([{units}])", text)
    if match is None:
        return None
    try:
        found = timedelta(**{_UNITS[match[2]]: int(match[1])})
    except OverflowError:
        return None
    return found if found.total_seconds() <= _LONGEST else None


def speed(text: str) -> float | None:
    """How many times as fast as it happened; None for ``max``.

    Raises:
        ValueError: it is neither ``max`` nor a finite number above 0.
    """
    if text == "max":
        return None
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError(text)
    return value


def _first_paragraph(text: str | None) -> str:
    return " ".join(cleandoc(text or "").partition("\n\n")[0].split())
