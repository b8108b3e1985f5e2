"""How checks are run and reported on the command line."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from mts1b_foundation.declared import collecting_defects

from mts1b_platform.output import print_json, say

if TYPE_CHECKING:
    from mts1b_foundation.subjects.findings import Finding
    from mts1b_foundation.subjects.sources import Sources


def sources_of(paths: Sequence[Path] | None) -> "Sources":
    """Everything declared in ``paths`` (default: here, when this is a checkout) and by installed packages.

    Raises:
        ContributionError: something that is declared does not load.
    """
    with collecting_defects() as earlier:  # the foundation's own declarations break here, if they do
        from mts1b_foundation.subjects.sources import load_sources

    here = Path.cwd()
    checkouts = list(paths or ([here] if (here / "pyproject.toml").exists() else []))
    return load_sources(checkouts, earlier=earlier)


def report(findings: "Sequence[Finding]", sources: "Sources", *, as_json: bool) -> None:
    """Print one line per finding; ends the command with exit code 1 when there are any.

    Inside a GitHub workflow each finding is printed a second time, as an annotation of the line it is about.
    """
    root = Path.cwd()
    if as_json:
        print_json([finding.row(root) for finding in findings])
    else:
        for finding in findings:
            say(finding.line(root))
        if os.environ.get("GITHUB_ACTIONS") == "true":
            for finding in findings:
                say(finding.annotation(root))
    subjects = sum(len(source.subjects) for source in sources)
    if not findings:
        if not as_json:
            say(f"{subjects} subjects of {len([s for s in sources if s.contribution])} repos: nothing to object to")
        return
    sys.stderr.write(f"{len(findings)} findings in {subjects} subjects\n")
    raise typer.Exit(1)
