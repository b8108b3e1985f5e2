"""``python -m mts1b_platform`` is ``mts1b``."""

from mts1b_platform.cli import main

main()
