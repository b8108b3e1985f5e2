"""What a check found: a place, the rule that is broken, what is wrong, and what to do."""

from dataclasses import dataclass
from pathlib import Path

from mts1b_foundation.declared import Site


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One broken rule at one place. Sorts by place."""

    site: Site
    rule: str
    message: str
    remedy: str

    def line(self, root: Path) -> str:
        """``path:line: rule: message; remedy``, the path relative to ``root`` when it lies inside."""
        return f"{relative(self.site.path, root)}:{self.site.line}: {self.rule}: {self.message}; {self.remedy}"

    def annotation(self, root: Path) -> str:
        """The same as a GitHub workflow command, which shows it beside the line of the pull request."""
        place = f"file={_property(relative(self.site.path, root))},line={self.site.line}"
        return f"::error {place},title={_property(self.rule)}::{_data(f'{self.message}; {self.remedy}')}"

    def row(self, root: Path) -> dict[str, str | int]:
        """The same as a JSON object."""
        return {
            "file": relative(self.site.path, root),
            "line": self.site.line,
            "rule": self.rule,
            "message": self.message,
            "remedy": self.remedy,
        }


def relative(path: str, root: Path) -> str:
    """``path`` as it is said from ``root``; unchanged when it lies elsewhere."""
    try:
        return Path(path).resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        return path


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
