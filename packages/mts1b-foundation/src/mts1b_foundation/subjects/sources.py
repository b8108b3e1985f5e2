"""Everything that a check looks at: the foundation, installed packages, and checkouts that are not installed.

A checkout is a folder with a ``pyproject.toml`` that declares entry points in our groups; the members of a uv
workspace are checkouts too. What a checkout declares takes the place of the installed package of the same name.
"""

import ast
import sys
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Final

from mts1b_foundation.deadletters import DeadLetter
from mts1b_foundation.declared import Defect, Site, collecting_defects
from mts1b_foundation.errors import ContributionError
from mts1b_foundation.subjects.algebra import overlaps
from mts1b_foundation.subjects.contributions import (
    CONSUMERS_GROUP,
    FOUNDATION,
    STREAMS_GROUP,
    SUBJECTS_GROUP,
    ConsumerDeclaration,
    Contribution,
    Stream,
    claim_pattern,
    claims_in,
    load,
)
from mts1b_foundation.subjects.deadletters import deadletter_subject
from mts1b_foundation.subjects.grants import Grant, grants_in
from mts1b_foundation.subjects.subject import DurableSubject, Subject

_GROUPS: Final = (SUBJECTS_GROUP, STREAMS_GROUP, CONSUMERS_GROUP)
FOUNDATION_NAME: Final = "mts1b-foundation"


@dataclass(frozen=True)
class StreamSource:
    """A stream definition and the file that it stands in."""

    name: str
    subjects: tuple[str, ...]
    path: str
    definition: Stream = field(compare=False)
    """What the contribution holds: a ``StreamDefinition`` of the platform, or else nobody could create it."""

    @property
    def site(self) -> Site:
        """The line that names the stream; only looked for when something is wrong with it."""
        return self._sites[0]

    @property
    def last_site(self) -> Site:
        """The last line that names it, where one file does so twice."""
        return self._sites[-1]

    @cached_property
    def _sites(self) -> list[Site]:
        try:
            tree = ast.parse(Path(self.path).read_text())
        except OSError:
            return [Site(self.path, 1)]
        lines = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Constant) and node.value == self.name]
        return [Site(self.path, line) for line in sorted(lines) or [1]]


@dataclass(frozen=True, slots=True)
class Source:
    """What one repo contributes.

    Attributes:
        name: the repo, as its distribution is named.
        root: its checkout; None when only the installed package is there.
        package: the folder of its Python package; its schema snapshots are in ``schemas/`` there.
        module: the name of that package.
    """

    name: str
    root: Path | None = None
    module: str = ""
    package: Path | None = None
    contribution: Contribution | None = None
    streams: tuple[StreamSource, ...] = ()
    consumers: tuple[ConsumerDeclaration, ...] = ()
    defects: tuple[Defect, ...] = ()

    @property
    def subjects(self) -> list[Subject[Any]]:
        """The subjects whose declarations are sound enough to be looked at."""
        return [subject for subject in self.contribution.subjects if not subject.broken] if self.contribution else []


Sources = Sequence[Source]


def claims_of(sources: Sources) -> dict[str, tuple[str, ...]]:
    """By repo, what every producer claims, as declared: tokens and patterns."""
    return claims_in(source.contribution for source in sources if source.contribution)


def grants_of(sources: Sources) -> tuple[Grant, ...]:
    """What producers have handed on to other repos."""
    return grants_in(source.contribution for source in sources if source.contribution)


def deadletters_in(sources: Sources) -> dict[str, DurableSubject[DeadLetter]]:
    """By repo, the dead-letter subject of every service that publishes or consumes."""
    claims = claims_of(sources)
    readers = [each.service for source in sources for each in source.consumers]
    return {repo: deadletter_subject(repo, claims.get(repo, ())) for repo in dict.fromkeys((*claims, *readers))}


def contested_deadletters(sources: Sources) -> dict[str, str]:
    """Services whose dead-letter subject is another's, who claims it or was there first; and whose it is."""
    claims = {repo: [claim_pattern(each) for each in values] for repo, values in claims_of(sources).items()}
    held: dict[str, str] = {}
    contested: dict[str, str] = {}
    for repo, subject in deadletters_in(sources).items():
        owner = held.setdefault(subject.pattern, repo)
        claimers = (each for each, own in claims.items() if any(overlaps(claim, subject.pattern) for claim in own))
        other = next((each for each in (*claimers, owner) if each != repo), None)
        if other is not None:
            contested[repo] = other
    return contested


def registered(sources: Sources) -> Iterator[tuple[Source, Subject[Any]]]:
    """Every sound subject, with the repo that contributes it."""
    for source in sources:
        for subject in source.subjects:
            yield source, subject


@dataclass(slots=True)
class _Draft:
    name: str
    root: Path | None = None
    entries: list[EntryPoint] = field(default_factory=list[EntryPoint])


def load_sources(checkouts: Iterable[Path] = (), *, earlier: Sequence[Defect] = ()) -> tuple[Source, ...]:
    """Everything declared by the foundation, by ``checkouts`` and by installed packages.

    Args:
        checkouts: folders with a ``pyproject.toml``.
        earlier: defects collected while the foundation was imported.

    Raises:
        ContributionError: something that is declared does not load; the message names it.
    """
    drafts = {draft.name: draft for folder in checkouts for draft in _checkouts(folder)}
    installed = entry_points()  # reading them costs more than all of the rules
    for group in _GROUPS:
        for entry in installed.select(group=group):
            name = entry.dist.name if entry.dist else entry.module
            draft = drafts.setdefault(name, _Draft(name))
            if draft.root is None:
                draft.entries.append(entry)
    if FOUNDATION_NAME not in drafts:
        drafts[FOUNDATION_NAME] = _Draft(FOUNDATION_NAME)
    if not drafts[FOUNDATION_NAME].entries:
        value = f"{FOUNDATION.__module__}:FOUNDATION"
        drafts[FOUNDATION_NAME].entries.append(EntryPoint("foundation", value, SUBJECTS_GROUP))
    ordered = sorted(drafts.values(), key=lambda draft: (draft.name != FOUNDATION_NAME, draft.name))
    return tuple(_load(draft, earlier if draft.name == FOUNDATION_NAME else ()) for draft in ordered)


def _checkouts(folder: Path) -> Iterator[_Draft]:
    path = folder / "pyproject.toml"
    try:
        document = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise ContributionError(
            f"{folder} is no checkout: it has no pyproject.toml; give the folder that has"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise ContributionError(f"{path} is not valid TOML: {error}") from None
    project = document.get("project", {})
    declared = project.get("entry-points", {})
    entries = [EntryPoint(name, value, group) for group in _GROUPS for name, value in declared.get(group, {}).items()]
    if entries:
        yield _Draft(project.get("name", folder.resolve().name), folder.resolve(), entries)
    for pattern in document.get("tool", {}).get("uv", {}).get("workspace", {}).get("members", ()):
        for member in sorted(folder.glob(pattern)):
            if (member / "pyproject.toml").exists():
                yield from _checkouts(member)


def _load(draft: _Draft, earlier: Sequence[Defect]) -> Source:
    if draft.root is not None:
        layout = draft.root / "src"
        sys.path.insert(0, str(layout if layout.is_dir() else draft.root))
    contribution: Contribution | None = None
    streams: list[StreamSource] = []
    consumers: list[ConsumerDeclaration] = []
    package: Path | None = None
    module = ""
    with collecting_defects() as defects:
        for entry in draft.entries:
            found = load(entry)
            file = _file_of(entry, draft.root)
            if entry.group == SUBJECTS_GROUP:
                contribution, package, module = found, _package(entry), entry.module.partition(".")[0]
            elif entry.group == STREAMS_GROUP:
                streams += [_stream(stream, file) for stream in found]
            else:
                consumers += found
    return Source(
        name=draft.name,
        root=draft.root,
        module=module,
        package=package,
        contribution=contribution,
        streams=tuple(streams),
        consumers=tuple(consumers),
        defects=(*earlier, *defects),
    )


def _stream(stream: Stream, file: str) -> StreamSource:
    return StreamSource(stream.name, tuple(stream.subjects), file, stream)


def _file_of(entry: EntryPoint, root: Path | None) -> str:
    file = str(import_module(entry.module).__file__)
    if root is not None and not Path(file).resolve().is_relative_to(root):
        raise ContributionError(
            f"the checkout {root} declares {entry.value}, but Python has loaded {entry.module} from {file}: "
            "run the check in the checkout's own environment, such as `uv run mts1b subjects check`"
        )
    return file


def _package(entry: EntryPoint) -> Path:
    top = import_module(entry.module.partition(".")[0])
    return Path(top.__path__[0]) if hasattr(top, "__path__") else Path(str(top.__file__)).parent
