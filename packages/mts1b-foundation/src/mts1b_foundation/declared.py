"""Where a declaration stands in its file, and what is wrong with it.

A broken declaration raises at once, so that no service starts with it. A check wants all of them: inside
:func:`collecting_defects` a broken declaration is noted with its place and the import goes on.
"""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from inspect import currentframe
from types import FrameType
from typing import cast


@dataclass(frozen=True, slots=True, order=True)
class Site:
    """A line of a source file."""

    path: str
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


@dataclass(frozen=True, slots=True)
class Defect:
    """A declaration that breaks the grammar, and why."""

    site: Site
    message: str


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


def report_defect(site: Site, message: str) -> bool:
    """Note a defect when somebody is collecting; says whether somebody is."""
    defects = _collected.get()
    if defects is None:
        return False
    defects.append(Defect(site, message))
    return True


def declaration_site() -> Site:
    """The line that declares the object under construction: the nearest one outside of the machinery.

    Functions of this package that declare on behalf of somebody (``deadletters_of``) and the call machinery of
    ``Subject[Order](…)`` are stepped over.
    """
    frame = cast("FrameType", currentframe())  # None in interpreters without frames only
    while (back := frame.f_back) is not None and _machinery(frame.f_globals.get("__name__", ""), frame.f_code.co_name):
        frame = back
    return Site(frame.f_code.co_filename, frame.f_lineno)


def _machinery(module: str, function: str) -> bool:
    return module == "typing" or (module.startswith("mts1b_foundation.") and function != "<module>")
