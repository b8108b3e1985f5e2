"""The rule of the rendered views: ``subjects.md`` in a checkout says what its declarations say."""

import difflib
from pathlib import Path

from mts1b_foundation.declared import Site
from mts1b_foundation.subjects.findings import Finding
from mts1b_foundation.subjects.sources import Source, Sources
from mts1b_foundation.views.markdown import markdown

FILE = "subjects.md"
"""Beside the ``pyproject.toml`` of a checkout that contributes subjects."""


def rendered(source: Source) -> tuple[Path, str] | None:
    """Where the table of a checkout belongs and what it should say; None for what is no checkout."""
    if source.root is None or source.contribution is None:
        return None
    return source.root / FILE, markdown(source.subjects, source.contribution.producers, source.contribution.grants)


def check_views(sources: Sources) -> list[Finding]:
    """Every ``subjects.md`` that is missing, or behind its declarations, at the first line that differs."""
    findings: list[Finding] = []
    for source in sources:
        if (view := rendered(source)) is None:
            continue
        path, wanted = view
        found = path.read_text() if path.exists() else ""
        if found != wanted:
            line = _first_difference(found, wanted)
            what = f"{FILE} is behind the declarations of {source.name}" if found else f"{source.name} has no {FILE}"
            findings.append(
                Finding(Site(str(path), line), "view-stale", what, "run `mts1b subjects render --write` and commit it")
            )
    return findings


def _first_difference(found: str, wanted: str) -> int:
    pairs = difflib.SequenceMatcher(a=found.splitlines(), b=wanted.splitlines(), autojunk=False).get_matching_blocks()
    first = pairs[0]
    return first.size + 1 if (first.a, first.b) == (0, 0) else 1
