"""``python -m mts1b_desk`` is ``mts1b-desk``."""

from mts1b_desk.cli import main

main()
