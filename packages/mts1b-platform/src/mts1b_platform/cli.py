"""``mts1b <noun> <verb>``: one command line whose nouns are found by name and imported when they are used."""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, Final, NoReturn

from mts1b_foundation.errors import Mts1bError
from typer import Typer
from typer.core import TyperCommand
from typer.main import get_command

from mts1b_platform import command_line, commands

GROUP: Final = "mts1b.commands"
"""Entry point group through which other packages add nouns: ``noun = "package.module:app"``, a ``typer.Typer``."""


class CommandError(Mts1bError):
    """A noun cannot be used, as its package does not load."""

    exit_code = 2


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line; ends the process."""
    sys.exit(run(sys.argv[1:] if argv is None else argv))


def run(argv: Sequence[str]) -> int:
    """Run the command line and return its exit code."""
    return command_line.run(app(), argv, name="mts1b")


def app() -> Typer:
    """The whole command, with every noun that is installed."""
    return command_line.root(
        "The MTS1B event bus from a terminal. `mts1b NOUN --help` lists the verbs of a noun.",
        package="mts1b-platform",
        cls=_Nouns,
    )


def nouns() -> dict[str, str]:
    """Every noun and its line of help, by name; imports none of them."""
    return {name: found.help or "" for name, found in _found().items()}


class _Noun(TyperCommand):
    """A noun that is imported when it is used; until then it has a name and a line of help."""

    def __init__(self, name: str, module: str, load: EntryPoint | None = None) -> None:
        super().__init__(name, help=_summary(module), rich_markup_mode=None)
        self._module, self._entry = module, load

    def load(self) -> Typer:
        """The app of this noun.

        Raises:
            CommandError: its package does not load.
        """
        if self._entry is None:
            return import_module(self._module).app
        try:
            return self._entry.load()
        except (ImportError, AttributeError) as error:
            package = self._entry.dist.name if self._entry.dist else self._entry.module
            raise CommandError(
                f"{self.name!r} is contributed by {package} as {self._entry.value}, which does not load: {error}; "
                f"reinstall {package} or remove it"
            ) from error

    def make_context(self, *args: Any, **options: Any) -> Any:
        """A context of the command that this stands for, so that parsing, help and completion are its own."""
        return get_command(self.load()).make_context(*args, **options)


class _Nouns(command_line.Group):
    """The whole command: every noun that is found."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for noun in _found().values():
            self.add_command(noun)


def _found() -> dict[str, _Noun]:
    found = {entry.name: _Noun(entry.name, entry.module, entry) for entry in entry_points(group=GROUP)}
    for module in iter_modules(commands.__path__):
        if not module.name.startswith("_"):
            name = module.name.replace("_", "-")
            found[name] = _Noun(name, f"{commands.__name__}.{module.name}")
    return dict(sorted(found.items()))


def _summary(module: str) -> str:
    """The first line of a module's docstring; neither it nor its package is imported for that."""
    package, *inner = module.split(".")
    spec = find_spec(package)
    if spec is None:
        return ""
    if inner:
        candidates = [Path(folder, *inner).with_suffix(".py") for folder in spec.submodule_search_locations or ()]
    else:
        candidates = [Path(spec.origin or "")]
    for path in candidates:
        if path.suffix == ".py" and path.is_file():
            _, quotes, doc = path.read_text(errors="replace").partition('"""')
            return doc.partition('"""')[0].partition("\n")[0] if quotes else ""
    return ""
