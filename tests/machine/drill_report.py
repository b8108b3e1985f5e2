"""A pytest plugin: prints what each drill lost and how long it took, at the end of a run.

A test that is a drill says so with ``record_property("drill", (which, lost, took))``.
"""

from typing import cast

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print a table, drills that failed among them."""
    passed = cast("list[pytest.TestReport]", terminalreporter.getreports("passed"))
    rows = [
        cast("tuple[str, str, str]", value)
        for report in passed
        if report.when == "call"
        for name, value in report.user_properties
        if name == "drill"
    ]
    terminalreporter.write_sep("=", "drills")
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
    for row in sorted(rows):
        terminalreporter.write_line("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)))
