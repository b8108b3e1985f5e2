"""What importing the subjects costs a process."""

import subprocess
import sys


def test_importing_the_subjects_loads_no_contribution_and_no_tool():
    tools = ("mts1b_platform", "mts1b_foundation.schemas", "mts1b_foundation.views", "nats", "typer")
    code = f"import sys, mts1b_foundation.subjects; print([m for m in sys.modules if m.startswith({tools})])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
