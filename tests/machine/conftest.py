"""Load that tests of other rooms make as well; its folder goes on the path so that tests can import it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "hosts" / "cluster"))
