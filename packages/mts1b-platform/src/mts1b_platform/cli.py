"""``mts1b <noun> <verb>``: finds the noun, imports only what it needs, and turns errors into one line.

Exit codes: 0 done, 1 the answer is no or an error (said on standard error), 2 the command was not understood.
"""

import ast
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points, version
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Final, NoReturn

from mts1b_foundation.errors import Mts1bError

from mts1b_platform import commands

if TYPE_CHECKING:
    from typer import Typer

GROUP: Final = "mts1b.commands"
"""Entry point group through which other packages add nouns."""


class CommandError(Mts1bError):
    """A command cannot be run: an unknown noun, or one whose package does not load."""


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line; ends the process."""
    sys.exit(run(sys.argv[1:] if argv is None else argv))


def run(argv: Sequence[str]) -> int:
    """Run the command line and return its exit code."""
    if not argv or argv[0] in ("-h", "--help", "help"):
        sys.stdout.write(_help())
        return 0
    if argv[0] in ("-V", "--version"):
        sys.stdout.write(f"mts1b {version('mts1b-platform')}\n")
        return 0
    try:
        app = load(argv[0])
        app(args=list(argv[1:]), prog_name=f"mts1b {argv[0]}")
    except CommandError as error:
        return _fail(error, 2)
    except Mts1bError as error:
        return _fail(error, 1)
    except BrokenPipeError:
        sys.stdout = None  # whoever read us has gone; there is nobody to flush to
        return 1
    except SystemExit as ending:
        return ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    return 0


def load(noun: str) -> "Typer":
    """The app of ``noun``.

    Raises:
        CommandError: there is no such noun, or its package does not load.
    """
    if noun in _own():
        return import_module(f"{commands.__name__}.{_module(noun)}").app
    for entry in entry_points(group=GROUP):
        if entry.name == noun:
            return _loaded(entry)
    raise CommandError(f"there is no noun {noun!r}; there are {', '.join(sorted(nouns()))}: see `mts1b --help`")


def nouns() -> dict[str, str]:
    """Every noun and its line of help; imports none of them."""
    found = {entry.name: _summary(_source(entry.module)) for entry in entry_points(group=GROUP)}
    return found | {noun: _summary(path) for noun, path in _own().items()}


def _own() -> dict[str, Path | None]:
    folder = Path(commands.__path__[0])
    return {
        module.name.replace("_", "-"): folder / f"{module.name}.py"
        for module in iter_modules(commands.__path__)
        if not module.name.startswith("_")
    }


def _module(noun: str) -> str:
    return noun.replace("-", "_")


def _loaded(entry: EntryPoint) -> "Typer":
    try:
        return entry.load()
    except (ImportError, AttributeError) as error:
        package = entry.dist.name if entry.dist else entry.module
        raise CommandError(
            f"{entry.name!r} is contributed by {package} as {entry.value}, which does not load: {error}; "
            f"reinstall {package} or remove it"
        ) from error


def _source(module: str) -> Path | None:
    try:
        spec = find_spec(module)
    except ImportError:
        return None
    return Path(spec.origin) if spec and spec.origin else None


def _summary(path: Path | None) -> str:
    if path is None or path.suffix != ".py":
        return ""
    text = ast.get_docstring(ast.parse(path.read_text()))
    return text.splitlines()[0] if text else ""


def _help() -> str:
    lines = sorted(nouns().items())
    width = max(len(noun) for noun, _ in lines)
    table = "\n".join(f"  {noun.ljust(width)}  {line}".rstrip() for noun, line in lines)
    usage, hint = "usage: mts1b <noun> <verb> [options]", "`mts1b <noun> --help` lists the verbs of a noun."
    return f"{usage}\n\nnouns:\n{table}\n\n{hint}\n"


def _fail(error: Mts1bError, code: int) -> int:
    sys.stderr.write(f"mts1b: {error}\n")
    return code
