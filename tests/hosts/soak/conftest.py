"""The soak is made of several files; its folder goes on the path so that tests can import them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
