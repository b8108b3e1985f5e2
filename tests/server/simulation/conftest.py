"""The simulation is a program too: its parent folder goes on the path, so that ``simulation`` can be imported."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
