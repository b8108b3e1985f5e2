"""Writing a new repo from the files in ``files/``: one that passes its own checks as it stands."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from mts1b_foundation.errors import Mts1bError
from mts1b_foundation.schemas.lint import write_snapshots
from mts1b_foundation.subjects.algebra import overlaps
from mts1b_foundation.subjects.contributions import claim_pattern
from mts1b_foundation.subjects.sources import claims_of, load_sources
from mts1b_foundation.views.lint import rendered

_NAME: Final = re.compile(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*")
_LONGEST: Final = 30
_SUFFIX: Final = ".tmpl"
_PACKAGE: Final = "package"


class ScaffoldError(Mts1bError):
    """The repo cannot be made; nothing was written."""


@dataclass(frozen=True, slots=True)
class NewRepo:
    """The names in a new repo.

    Attributes:
        name: what it is called, such as ``alpha`` or ``fill-audit``.
    """

    name: str

    @property
    def repo(self) -> str:
        """The distribution, and the service."""
        return f"mts1b-{self.name.replace('_', '-')}"

    @property
    def package(self) -> str:
        """The Python package."""
        return self.repo.replace("-", "_")

    @property
    def token(self) -> str:
        """What it claims: the third token of its subjects."""
        return self.name.replace("-", "_")

    @property
    def words(self) -> Mapping[str, str]:
        """What stands for what in the files."""
        return {
            "@@repo@@": self.repo,
            "@@package@@": self.package,
            "@@token@@": self.token,
            "@@durable@@": f"{self.name.replace('_', '-')}-fills",
            "@@STREAM@@": f"{self.token.upper()}_TRADES",
            "@@ENV@@": self.token.upper(),
            "@@version@@": ".".join(version("mts1b-platform").split(".")[:2]),
        }


def make_repo(name: str, into: Path) -> tuple[NewRepo, list[Path]]:
    """Write the repo ``name`` below ``into``; its names, and the files that were written.

    Args:
        name: lower-case letters and digits, with ``-`` between words; ``mts1b-`` in front may be left out.
        into: the folder in which its folder is made.

    Raises:
        ScaffoldError: the name is no possible one or taken, or the folder is there already.
    """
    new = NewRepo(name.removeprefix("mts1b-"))
    if not _NAME.fullmatch(new.name) or len(new.name) > _LONGEST:
        raise ScaffoldError(
            f"{name!r} is no name of a repo: use lower-case letters and digits, with - between words, {_LONGEST} of "
            "them at most"
        )
    claim = claim_pattern(new.token)
    for repo, claims in claims_of(load_sources()).items():
        if any(overlaps(claim, claim_pattern(each)) for each in claims):
            raise ScaffoldError(f"{new.name} would claim {claim}, which is {repo}'s: choose another name")
    root = into.resolve() / new.repo
    if root.exists():
        raise ScaffoldError(f"{root} exists: move it away, or choose another name")
    written = [*_copied(new, root), *_derived(root)]
    return new, sorted(written)


def _copied(new: NewRepo, root: Path) -> Iterator[Path]:
    for path, source in _templates(files("mts1b_platform.scaffold") / "files", Path()):
        text = source.read_text(encoding="utf-8")
        for mark, word in new.words.items():
            text = text.replace(mark, word)
        parts = [new.package if part == _PACKAGE else part for part in path.parts]
        target = root.joinpath(*parts).with_name(path.name.removesuffix(_SUFFIX))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        yield target


def _templates(folder: Traversable, path: Path) -> Iterator[tuple[Path, Traversable]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _templates(entry, path / entry.name)
        elif entry.name.endswith(_SUFFIX):
            yield path / entry.name, entry


def _derived(root: Path) -> Iterator[Path]:
    """What is written from the declarations: schemas, and the table of subjects."""
    source = next(each for each in load_sources([root]) if each.root == root)
    assert source.package is not None  # noqa: S101 - it has subjects
    names, _ = write_snapshots(source)
    yield from (source.package / "schemas" / name for name in names)
    if view := rendered(source):
        path, text = view
        path.write_text(text)
        yield path
