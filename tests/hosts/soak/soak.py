"""The event bus for as long as you like while everything around it goes wrong: ``python tests/hosts/soak/soak.py``
(``make soak``); prints figures, exits 1 on any broken promise.

    --minutes 30   faults go on for so long; a look at the books and the judgement come on top
    --seed 0       repeats the order of faults; timing is never repeated exactly
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from soak_report import report
from soak_run import Soak

WARM_UP = 13, 22_000
"""Faults, about one of each kind, and orders: an ordered consumer remembers its latest 20,000 acks."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--directory", type=Path, help="keep servers' logs and stores here")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mts1b-soak-") as temporary:
        home = given.directory or Path(temporary)
        soak = Soak(home, seconds=given.minutes * 60, seed=given.seed, warm_up=WARM_UP)
        figures = asyncio.run(soak.carry_out())
    print(f"\n{report(figures)}\nseed {given.seed}")
    sys.exit(bool(figures.complaints))


if __name__ == "__main__":
    main()
