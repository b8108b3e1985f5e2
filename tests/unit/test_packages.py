"""What every package says of itself, and that what they say fits together."""

import re
import tomllib
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PROJECTS: dict[str, dict[str, Any]] = {
    path.parent.name: tomllib.loads(path.read_text())["project"]
    for path in sorted(ROOT.glob("packages/*/pyproject.toml"))
}
PYTHON = [name for name in PROJECTS if name != "mts1b-wire"]


def test_all_packages_are_found():
    assert {"mts1b-foundation", "mts1b-platform", "mts1b-operations", "mts1b-deploy", "mts1b-desk"} <= set(PYTHON)


@pytest.mark.parametrize("name", PROJECTS)
def test_a_package_says_who_made_it_under_which_licence_and_where_to_ask(name: str):
    project = PROJECTS[name]
    assert project["license"] == "Apache-2.0"
    assert project["license-files"] == ["LICENSE"]
    assert (ROOT / "packages" / name / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert {"Documentation", "Source", "Issues", "Changelog"} <= project["urls"].keys()
    assert project["authors"]
    assert project["classifiers"]
    assert project["description"]


@pytest.mark.parametrize("name", PROJECTS)
def test_a_readme_has_no_links_that_an_index_cannot_follow(name: str):
    text = (ROOT / "packages" / name / PROJECTS[name]["readme"]).read_text()
    relative = [target for target in re.findall(r"\]\(([^)]+)\)", text) if not target.startswith(("https://", "#"))]
    assert relative == []


@pytest.mark.parametrize("name", PYTHON)
def test_packages_name_the_version_of_each_other_that_they_are_made_for(name: str):
    project = PROJECTS[name]
    wanted = [project["dependencies"], *project.get("optional-dependencies", {}).values()]
    ours = [each for each in chain.from_iterable(wanted) if each.startswith("mts1b-")]
    assert all(each.endswith(f"=={project['version']}") for each in ours), ours
    assert import_module(name.replace("-", "_")).__version__ == project["version"]
    assert {each["version"] for each in PROJECTS.values()} == {project["version"]}


@pytest.mark.parametrize("name", [name for name in PYTHON if PROJECTS[name].get("scripts")])
def test_a_command_is_a_module_too(name: str):
    package = name.replace("-", "_")
    assert (ROOT / "packages" / name / "src" / package / "__main__.py").exists()
