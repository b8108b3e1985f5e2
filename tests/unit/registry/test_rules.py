"""Every rule, as a pair: a checkout that breaks it and is refused at the right line, and its neighbour that passes."""

import re
import sys
from itertools import count
from pathlib import Path

import pytest
from mts1b_foundation.errors import ContributionError
from mts1b_foundation.subjects.findings import Finding
from mts1b_foundation.subjects.lint import RULES, check_registry
from mts1b_foundation.subjects.sources import load_sources

HERE = Path(__file__).parent
HEAD = (HERE / "rules_head.py").read_text()
FOOT = """
if "CONTRIBUTION" not in globals():
    CONTRIBUTION = Contribution(producers=PRODUCERS, subjects=SUBJECTS, upcasters=UPCASTERS)
"""
_SECTION = re.compile(r"(\S+)\n.*?```python\n(.*?)```\n+```python\n(.*?)```\n*", re.DOTALL)
SECTIONS = (HERE / "rules.md").read_text().split("\n## ")[1:]
PAIRS: list[tuple[str, str, str]] = [
    (found[1], found[2], found[3]) for text in SECTIONS if (found := _SECTION.fullmatch(text))
]
NAMES = [f"{rule}-{number}" for number, (rule, _, _) in enumerate(PAIRS)]
NUMBERS = count(1)


def check(folder: Path, body: str) -> tuple[list[Finding], list[str]]:
    """The findings in a checkout of this body, and its lines."""
    name = f"alerts_{next(NUMBERS)}"
    (folder / "pyproject.toml").write_text(
        f'[project]\nname = "mts1b-alerts"\n'
        f'[project.entry-points."mts1b.subjects"]\nalerts = "{name}:CONTRIBUTION"\n'
        f'[project.entry-points."mts1b.streams"]\nalerts = "{name}:STREAMS"\n'
        f'[project.entry-points."mts1b.consumers"]\nalerts = "{name}:CONSUMERS"\n'
    )
    text = HEAD + body + FOOT
    (folder / f"{name}.py").write_text(text)
    return check_registry(load_sources([folder])), text.splitlines()


@pytest.fixture(autouse=True)
def path_is_restored(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.mark.parametrize(("rule", "broken", "_"), PAIRS, ids=NAMES)
def test_what_breaks_a_rule_is_refused_at_its_line(tmp_path: Path, rule: str, broken: str, _: str):
    findings, lines = check(tmp_path, broken)
    marked = next(number for number, line in enumerate(lines, 1) if "# HERE" in line)
    named = [finding for finding in findings if finding.rule == rule]
    assert named, findings
    assert {(Path(finding.site.path).parent, finding.site.line) for finding in named} == {(tmp_path, marked)}
    assert all(finding.message and finding.remedy for finding in findings)


@pytest.mark.parametrize("sound", [sound for _, _, sound in PAIRS], ids=NAMES)
def test_its_neighbour_passes(tmp_path: Path, sound: str):
    assert check(tmp_path, sound)[0] == []


def test_every_rule_has_a_pair():
    assert len(PAIRS) == len(SECTIONS)
    written = "".join(Path(str(sys.modules[rule.__module__].__file__)).read_text() for rule in RULES)
    declared = set(
        re.findall(r'"((?:claim|payload|subject|producer|stream|consumer|deadletters|version|schema)-[a-z]+)"', written)
    )
    assert len(declared) > 10
    assert declared | {"grammar", "description", "prefix"} == {rule for rule, _, _ in PAIRS}


def test_every_rule_is_documented():
    written = (HERE.parents[2] / "docs" / "registry.md").read_text()
    assert {rule for rule, _, _ in PAIRS if not rule.startswith("schema-")} == {
        rule
        for rule in re.findall(r"^\| `([a-z-]+)` \|", written, re.MULTILINE)
        if rule not in ("schema-", "view-stale") and not rule.startswith("schema-")
    }


def test_every_defect_is_found_in_one_run(tmp_path: Path):
    broken = ["mts.1.a.b.c", "nats.v1.a.b.c", "mts.v1.a.b.C"]
    findings, _ = check(tmp_path, "".join(f"durable({pattern!r})\n" for pattern in broken))
    assert [finding.rule for finding in findings] == ["grammar"] * 3
    assert len({finding.site.line for finding in findings}) == 3


def test_both_claimants_are_named(tmp_path: Path):
    findings, _ = check(tmp_path, "PRODUCERS['mts1b-alarms'] = 'mts.v1.oms.*.raised'\n")
    (message,) = [finding.message for finding in findings if finding.rule == "claim-overlap"]
    assert "mts1b-alarms (mts1b-alerts)" in message
    assert "mts1b-oms (mts1b-foundation)" in message


def test_the_registry_of_the_project_itself_is_sound():
    assert check_registry(load_sources()) == []


def test_a_finding_is_one_line_with_place_rule_and_remedy(tmp_path: Path):
    (finding,), _ = check(tmp_path, next(broken for rule, broken, _ in PAIRS if rule == "stream-none"))
    place = f"{finding.site.path.removeprefix(f'{tmp_path}/')}:{finding.site.line}"
    assert finding.line(tmp_path) == (
        f"{place}: stream-none: mts.v1.bells.bells.rung is durable and no stream captures it; "
        "add it to the subjects of a stream"
    )
    assert finding.line(Path("/elsewhere")).startswith(str(tmp_path))
    assert finding.annotation(tmp_path).startswith(f"::error file={place.split(':')[0]},line=")
    assert finding.row(tmp_path)["rule"] == "stream-none"


def test_a_folder_that_is_no_checkout_is_refused(tmp_path: Path):
    with pytest.raises(ContributionError, match=r"has no pyproject\.toml"):
        load_sources([tmp_path])


def test_a_checkout_that_does_not_load_is_refused_by_name(tmp_path: Path):
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "mts1b-ghost"\n[project.entry-points."mts1b.subjects"]\nghost = "no_such_module:X"\n'
    )
    with pytest.raises(ContributionError, match=r"no_such_module:X.*does not load"):
        load_sources([tmp_path])


def test_a_checkout_shadowed_by_another_module_is_refused(tmp_path: Path):
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "mts1b-other"\n'
        '[project.entry-points."mts1b.subjects"]\nf = "mts1b_foundation.subjects.contributions:FOUNDATION"\n'
    )
    with pytest.raises(ContributionError, match="run the check in the checkout's own environment"):
        load_sources([tmp_path])
