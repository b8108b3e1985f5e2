"""The pages are true: the site builds, code is what runs or what type checkers take, commands and links exist."""

import ast
import builtins
import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import mts1b_deploy.cli
import mts1b_desk.cli
import pytest
import yaml
from mts1b_platform.cli import app
from typer.core import TyperGroup
from typer.main import get_command

ROOT = Path(__file__).parents[3]
NEW_REPO = ROOT / "packages/mts1b-platform/src/mts1b_platform/scaffold/files"
PREAMBLE = Path(__file__).with_name("preamble.py")
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "benchmarks" / "measured.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted(ROOT.glob("packages/*/README.md")),
]
BLOCK = re.compile(r"^```(\w*)(?: title=\"([^\"]+)\")?\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:mts1b(?:-deploy|-desk)?|make) [^`\n]+)`")
COMMANDS = {
    name: get_command(made)
    for name, made in (("mts1b", app()), ("mts1b-deploy", mts1b_deploy.cli.app), ("mts1b-desk", mts1b_desk.cli.app))
}
TARGETS = {
    target
    for makefile in (ROOT / "Makefile", NEW_REPO / "Makefile.tmpl")
    for target in re.findall(r"^([a-z][a-z-]*):", makefile.read_text(), re.MULTILINE)
}


WORKFLOWS = [*sorted(ROOT.glob(".github/workflows/*.yml")), *sorted(NEW_REPO.glob(".github/workflows/*"))]


class Block(NamedTuple):
    """Code on a page."""

    page: Path
    line: int
    language: str
    title: str
    code: str

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(*languages: str) -> Iterator[Block]:
    for page in PAGES:
        text = page.read_text()
        for match in BLOCK.finditer(text):
            if match[1] in languages:
                yield Block(page, text[: match.start()].count("\n") + 1, match[1], match[2] or "", match[3])


@pytest.mark.slow(seconds=10)
def test_the_site_is_built_without_a_warning_and_fetches_nothing(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr, done.stderr
    page = (tmp_path / "site" / "reference" / "python.html").read_text()
    assert "The connection is re-established for ever once it stood" in page
    assert "mts1b deadletters requeue" in (tmp_path / "site" / "reference" / "commands.html").read_text()
    assert "MTS1B_NATS_URL" in (tmp_path / "site" / "reference" / "settings.html").read_text()
    fetched = [
        found
        for path in (tmp_path / "site").rglob("*.html")
        for found in re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=.(https?://[^\"\' >]+)", path.read_text())
    ]
    assert fetched == []


@pytest.mark.slow(seconds=8)
def test_python_on_the_pages_is_what_mypy_takes(tmp_path: Path):
    """Every block but those of the tutorial, which are run (`test_the_tutorial_shows_the_repo_that_is_made`)."""
    new_alpha(tmp_path)
    (tmp_path / "preamble.py").write_text(PREAMBLE.read_text())
    files = {f"block_{number}.py": block for number, block in enumerate(blocks("python")) if not block.title}
    assert len(files) > 20
    for name, block in files.items():
        (tmp_path / name).write_text(as_module(block.code))
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", str(ROOT / ".mypy_cache" / "pages"), "--check-untyped-defs",
         "--disable-error-code", "no-redef", "--disable-error-code", "empty-body", *files],
        cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False,
        env={**os.environ, "MYPYPATH": str(tmp_path / "mts1b-alpha" / "src")},
    )  # fmt: skip
    said = done.stdout
    for name, block in files.items():
        said = said.replace(f"{name}:", f"{block.where}, ")
    assert done.returncode == 0, said


def as_module(code: str) -> str:
    """A block behind the preamble; inside a function when it awaits."""
    try:
        compile(code, "block", "exec", ast.PyCF_ONLY_AST)
        compile(code, "block", "exec")
    except SyntaxError:
        code = f"async def page() -> None:\n{textwrap.indent(code, '    ')}"
    tree = ast.parse(code)
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    own = {node.asname or node.name for node in ast.walk(tree) if isinstance(node, ast.alias)}
    own |= {
        node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    }
    own |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    own |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    wanted = sorted(names - own - set(dir(builtins)) - {"__file__"})
    return f"from preamble import {', '.join(wanted)}\n{code}" if wanted else code


def new_alpha(folder: Path) -> None:
    command = [sys.executable, "-m", "mts1b_platform", "new", "alpha"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)


def test_the_tutorial_shows_the_repo_that_is_made(tmp_path: Path):
    new_alpha(tmp_path)
    shown = [block for block in blocks("python") if block.title]
    assert len(shown) >= 4
    for block in shown:
        held = (tmp_path / "mts1b-alpha" / block.title).read_text()
        assert block.code in held, f"{block.where} is not in {block.title}"


def test_commands_on_the_pages_exist_with_their_options():
    lines = [(f"{page.relative_to(ROOT)}", line) for page in PAGES for line in INLINE.findall(page.read_text())]
    for block in blocks("console", ""):
        code = block.code.replace("\\\n", " ")
        lines += [(block.where, line.removeprefix("$ ")) for line in code.splitlines()]
    assert len(lines) > 300
    wrong = [f"{where}: {line}: {problem}" for where, line in lines for problem in problems_of(line)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_run_commands_that_exist_on_files_that_exist(path: Path):
    jobs: dict[str, Any] = yaml.safe_load(path.read_text())["jobs"]
    for job in jobs.values():
        assert set([job["needs"]] if isinstance(job.get("needs"), str) else job.get("needs", [])) <= set(jobs)
        ran = "\n".join(step.get("run", "") for step in job["steps"])
        for line in re.sub(r"\$\{\{.*?\}\}", "x", ran).splitlines():
            assert not list(problems_of(line)), line
            files = [word for word in line.split() if word.startswith(("packages/", "tests/"))]
            assert all((ROOT / file).exists() for file in files), line


def problems_of(line: str) -> Iterator[str]:
    for part in re.split(r"&&|\||;", line.partition(" #")[0]):
        if not re.match(r"\s*([A-Z_0-9]+=\S* )*(make|mts1b|mts1b-deploy|mts1b-desk) ", part):
            continue
        words = [word for word in shlex.split(part) if not re.fullmatch(r"[A-Z_0-9]+=.*", word)]
        if words[0] == "make":
            yield from (f"there is no target {word}" for word in words[1:] if word not in TARGETS)
            continue
        command: Any = COMMANDS[words[0]]
        rest = words[1:]
        while isinstance(found := command.make_context("x", [], resilient_parsing=True).command, TyperGroup):
            if not rest or rest[0] in {"help", "…"}:  # the page speaks of the group
                return
            if rest[0].startswith("-"):
                break
            if rest[0] not in found.commands:
                yield f"there is no {rest[0]} here"
                return
            command, rest = found.commands[rest[0]], rest[1:]
        known = {option for each in found.params for option in (*each.opts, *each.secondary_opts)} | {"--help"}
        yield from (f"no option {word}" for word in rest if word.startswith("-") and word.split("=")[0] not in known)


def test_links_between_files_lead_somewhere():
    broken: list[str] = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
            ours = re.match(r"https://github.com/mts1b/mts1b/(?:blob|tree)/main/(.*)", target)
            if target.startswith(("http", "mailto:")) and ours is None:
                continue
            path = ROOT / ours[1] if ours else page.parent / target
            generated = page.is_relative_to(ROOT / "docs") and "reference/" in target
            if not path.exists() and not generated:
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []
