"""The load that the cluster tests share; its folder goes on the path so that tests can import it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
