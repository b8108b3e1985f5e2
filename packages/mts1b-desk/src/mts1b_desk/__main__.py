"""``python -m mts1b_desk`` is ``mts1b-desk``."""

from mts1b_desk.cli import main

if __name__ == "__main__":
    main()
