"""How a run starts its services: ``python -m mts1b_desk.services <service> --settings <file>``, quick to import."""

import argparse
import sys
from pathlib import Path

from mts1b_desk.protocol import SERVICES
from mts1b_desk.services.process import run_service
from mts1b_desk.settings import DeskSettings


def main() -> int:
    """Run one service as the child of a run: it ends when standard input does."""
    parser = argparse.ArgumentParser(prog="python -m mts1b_desk.services", description="One service of a run.")
    parser.add_argument("service", choices=SERVICES)
    parser.add_argument("--settings", type=Path, required=True)
    arguments = parser.parse_args()
    return run_service(arguments.service, DeskSettings.read(arguments.settings), lifeline=True)


if __name__ == "__main__":
    sys.exit(main())
