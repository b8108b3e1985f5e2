"""Where a declaration stands in its file, and what is wrong with it.

A broken declaration raises at once, so that no service starts with it. A check wants all of them: inside
:func:`collecting_defects` a broken declaration is noted with its place and the import goes on.
"""

import ast
import inspect
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, cast


@dataclass(frozen=True, slots=True, order=True)
class Site:
    """A line of a source file."""

    path: str
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


@dataclass(frozen=True, slots=True)
class Defect:
    """A declaration that breaks a rule, and why."""

    site: Site
    message: str
    rule: str = "grammar"
    remedy: str = "correct the declaration, docs/registry.md has the grammar"


_collected: ContextVar[list[Defect] | None] = ContextVar("mts1b_defects", default=None)


@contextmanager
def collecting_defects() -> Generator[list[Defect]]:
    """Broken declarations made inside are added to the list that this gives, and do not raise."""
    defects: list[Defect] = []
    token = _collected.set(defects)
    try:
        yield defects
    finally:
        _collected.reset(token)


def report_defect(*found: Defect) -> bool:
    """Note defects when somebody is collecting; says whether somebody is."""
    defects = _collected.get()
    if defects is None:
        return False
    defects.extend(found)
    return True


def declaration_site() -> Site:
    """The line that declares the object under construction: the nearest one outside of the machinery.

    Functions of this package that declare on behalf of somebody (``deadletter_subject``) and the call machinery of
    ``Subject[Order](…)`` are stepped over.
    """
    frame = cast("FrameType", inspect.currentframe())  # None in interpreters without frames only
    while (back := frame.f_back) is not None and _machinery(frame.f_globals.get("__name__", ""), frame.f_code.co_name):
        frame = back
    return Site(frame.f_code.co_filename, frame.f_lineno)


def site_of(model: type[Any], path: str = "") -> Site:
    """The line of the field of ``model`` that ``path`` begins with, or of the class."""
    file = str(model.__module__)
    try:
        file = inspect.getsourcefile(model) or file
        tree = ast.parse(Path(file).read_text())
    except (OSError, TypeError):  # its source is not a file
        return Site(file, 1)
    first = path.split(".")[0].split("[")[0].split("{")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name == model.__name__:
            names = {
                statement.target.id: statement.lineno
                for statement in node.body
                if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
            }
            return Site(file, names.get(first, node.lineno))
    return Site(file, 1)


def _machinery(module: str, function: str) -> bool:
    return module == "typing" or (module.startswith("mts1b_foundation.") and function != "<module>")
