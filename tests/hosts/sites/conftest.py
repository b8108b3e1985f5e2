"""What the tests of sites share; its folder, and that of the cluster's load, go on the path."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "cluster")]
