"""A hub (one node with a mirror; three nodes) and an edge: the lines are cut in every way: ``make chaos-sites``.

It prints what was measured, and ends with 1 on any broken promise. It takes Linux, root, and eight minutes.

    --seconds 60   how long each cut lasts
    --nodes 1      one kind of hub only
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import get_args

sys.path.append(str(Path(__file__).parents[1] / "cluster"))

from cut_line import HubAndEdge, Judgement
from network_hosts import Cut

SOON = 5.0
"""Seconds after the line is whole within which the first event must come."""


def judged(root: Path, nodes: int, seconds: float) -> Judgement:
    """Cut the line in every way."""
    with HubAndEdge(root, nodes) as both:
        both.install()
        for how in get_args(Cut):
            both.cut(how, seconds)
        return both.judge()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--nodes", type=int, choices=(1, 3), action="append")
    given = parser.parse_args()
    broken = False
    for nodes in given.nodes or (1, 3):
        with tempfile.TemporaryDirectory(prefix="mts1b-chaos-sites-") as temporary:
            found = judged(Path(temporary), nodes, given.seconds)
        print(found, flush=True)
        broken |= not found.clean or any(each.first > SOON for each in found.cuts)
    sys.exit(broken)


if __name__ == "__main__":
    main()
