"""Installed packages add to the registry of the process, or are refused by name."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mts1b_foundation.declared import collecting_defects
from mts1b_foundation.errors import ContributionError, InvalidSubject
from mts1b_foundation.orders import Order
from mts1b_foundation.subjects import DurableSubject, Subject, Tier, deadletters_of, registry

Install = Callable[[str, str, str], None]

HEAD = """
from mts1b_foundation.marketdata import Quote
from mts1b_foundation.subjects import Subject, Tier
from mts1b_foundation.subjects.contributions import Contribution
"""
SUBJECT = 'Subject("{}", producer="mts1b-x", payload=Quote, tier=Tier.BEST_EFFORT, description="It.")'


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a package of one module for the length of the test."""
    made: list[str] = []

    def one(name: str, code: str, entry: str) -> None:
        (tmp_path / f"{name}.py").write_text(HEAD + code)
        metadata = tmp_path / f"{name}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[mts1b.subjects]\n{name} = {entry}\n")
        made.append(name)
        registry.cache_clear()

    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield one
    for name in made:
        sys.modules.pop(name, None)
    registry.cache_clear()


def test_a_contribution_is_found_by_its_concrete_names(install: Install):
    install("one_x", f"C = Contribution(subjects=[{SUBJECT.format('mts.v1.x.quotes.{symbol}')}])", "one_x:C")
    found = registry().find("mts.v1.x.quotes.BRK=2EB")
    assert found is not None
    assert found.producer == "mts1b-x"
    assert found.declared_at.path.endswith("one_x.py")
    assert [subject.pattern for subject in registry().matching("mts.*.x.>")] == ["mts.v1.x.quotes.{symbol}"]


def test_the_subjects_of_the_project_are_registered_once(install: Install):
    install("same_x", "from mts1b_foundation.subjects.contributions import FOUNDATION as C", "same_x:C")
    assert len(registry()) == len({subject.pattern for subject in registry()})


def test_a_contribution_that_does_not_load_is_named(install: Install):
    install("lost_x", "", "lost_x:NO_SUCH_NAME")
    with pytest.raises(ContributionError, match=r"lost_x contributes 'lost_x:NO_SUCH_NAME' .* does not load"):
        registry()


def test_a_contribution_of_another_kind_is_named(install: Install):
    install("odd_x", "C = []", "odd_x:C")
    with pytest.raises(ContributionError, match=r"odd_x contributes 'odd_x:C' .* which is a list: name a Contribution"):
        registry()


def test_two_contributions_of_one_subject_are_refused_and_both_places_named(install: Install):
    install(
        "taken_x", f"C = Contribution(subjects=[{SUBJECT.format('mts.v1.marketdata.quotes.{source}')}])", "taken_x:C"
    )
    with pytest.raises(InvalidSubject, match=r"mts1b-x \(.*taken_x\.py:5\) and .* of mts1b-marketdata \(.*py:\d+\)"):
        registry()


def test_a_declaration_knows_its_line():
    here = deadletters_of("mts1b-x")
    subject = Subject[Order](
        "mts.v1.x.orders.seen", producer="mts1b-x", payload=Order, tier=Tier.BEST_EFFORT, description="It."
    )
    assert here.declared_at.path == __file__
    assert subject.declared_at.path == __file__
    assert subject.declared_at.line == here.declared_at.line + 1


def test_broken_declarations_are_collected_and_not_raised_while_a_check_asks_for_them():
    with collecting_defects() as defects:
        broken = DurableSubject(
            "mts.v1.x.Orders.seen", producer="mts1b-x", payload=Order, tier=Tier.AT_LEAST_ONCE, description="It."
        )
    assert broken.broken
    (defect,) = defects
    assert defect.site == broken.declared_at
    assert "'Orders' is neither lower-case text" in defect.message
    with pytest.raises(InvalidSubject):
        DurableSubject(
            "mts.v1.x.Orders.seen", producer="mts1b-x", payload=Order, tier=Tier.AT_LEAST_ONCE, description="It."
        )
