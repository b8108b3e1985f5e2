"""Writing a report in the format that a file's name asks for."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from mts1b_desk.errors import DeskError
from mts1b_desk.report.figures import Report
from mts1b_desk.report.markdown import markdown


def _json(report: Report) -> str:
    return report.model_dump_json(indent=2) + "\n"


def _html(report: Report) -> str:
    try:
        from mts1b_desk.report.page import page  # it loads the library of charts
    except ModuleNotFoundError as error:
        raise DeskError(
            f"a page needs the library of charts, which is not installed ({error.name}): install mts1b-desk[report], "
            "or write a report to a .md or .json file"
        ) from error
    return page(report)


FORMATS: Final[Mapping[str, Callable[[Report], str]]] = {".html": _html, ".md": markdown, ".json": _json}
"""How a report is written, by the suffix of the file."""


def check_path(path: Path) -> None:
    """Refuse a path that no report can be written to, before anything is read.

    Raises:
        DeskError: the suffix is none of the formats, or there is no such folder.
    """
    if path.suffix.lower() not in FORMATS:
        raise DeskError(f"{path}: a report is a {', '.join(FORMATS)} file; name one of them")
    if not path.parent.is_dir():
        raise DeskError(f"{path}: the folder {path.parent} does not exist; make it first")


def write_report(report: Report, path: Path) -> None:
    """Write the report to ``path``: wholly, or not at all.

    Raises:
        DeskError: the file cannot be written.
    """
    text = FORMATS[path.suffix.lower()](report)
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise DeskError(f"{path} cannot be written: {error.strerror or error}") from error
