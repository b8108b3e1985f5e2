"""How a run starts its services: ``python -m mts1b_desk.services <service> --settings <file>``, quick to import.

Seven processes start at a time, so each leaves out what its libraries would import and no service uses: ``rich`` draws
for terminals, ``aiohttp`` carries websockets. That is a quarter of the time until a service is ready.
"""

import argparse
import sys
from pathlib import Path

from mts1b_desk.protocol import SERVICES
from mts1b_desk.settings import DeskSettings


def main() -> int:
    """Run one service as the child of a run: it ends when standard input does."""
    parser = argparse.ArgumentParser(prog="python -m mts1b_desk.services", description="One service of a run.")
    parser.add_argument("service", choices=SERVICES)
    parser.add_argument("--settings", type=Path, required=True)
    arguments = parser.parse_args()
    settings = DeskSettings.read(arguments.settings)
    _leave_out("rich")
    if settings.servers is not None and not any(server.startswith("ws") for server in settings.servers):
        _leave_out("aiohttp")
    from mts1b_desk.services.process import run_service

    return run_service(arguments.service, settings, lifeline=True)


def _leave_out(module: str) -> None:
    """Make ``import module`` fail, which the libraries that can do without it take for "not installed"."""
    sys.modules.setdefault(module, None)  # type: ignore[arg-type]


if __name__ == "__main__":
    sys.exit(main())
