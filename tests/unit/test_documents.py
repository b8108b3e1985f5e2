"""What the documents name is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAME = re.compile(r"`(?:[\w/]*/)?(?P<name>test_\w+)(?P<rest>\.py|…\w*)?`")
TESTS = [*ROOT.glob("tests/**/test_*.py"), *ROOT.glob("packages/*/tests/**/test_*.py")]


def test_every_test_that_the_page_of_guarantees_names_exists():
    files = {path.name for path in TESTS}
    functions = {name for path in TESTS for name in re.findall(r"def (test_\w+)", path.read_text())}
    missing: list[str] = []
    named = list(NAME.finditer((ROOT / "docs/guarantees.md").read_text()))
    for match in named:
        name, rest = match["name"], match["rest"] or ""
        if rest == ".py":
            found = f"{name}.py" in files
        elif rest:
            found = any(function.startswith(name) for function in functions)
        else:
            found = name in functions
        if not found:
            missing.append(match[0])
    assert len(named) > 40
    assert missing == []
