"""The crash matrix's own modules are programs too; their folder goes on the path so that tests can import them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
