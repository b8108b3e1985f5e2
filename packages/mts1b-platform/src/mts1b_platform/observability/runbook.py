"""Where it stands what an alert means and what to do: one section of the runbook for each."""

from typing import Final

_RUNBOOK: Final = "https://github.com/mts1b/mts1b/blob/main/docs/runbook.md"


def runbook_url(section: str) -> str:
    """The address of a section of ``docs/runbook.md``, for whoever reads an alert."""
    return f"{_RUNBOOK}#{section}"
