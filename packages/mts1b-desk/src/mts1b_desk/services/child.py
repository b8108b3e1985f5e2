"""A service as a child of a run: forked from a process that has imported everything, so that it starts at once."""

import os
import signal
import sys
from pathlib import Path

from setproctitle import setproctitle

from mts1b_desk.services.process import run_service
from mts1b_desk.settings import DeskSettings


def serve(service: str, settings: Path, log: Path) -> None:
    """Be the process of ``service``: it logs to a file, and ends when it is told to or when its run is gone.

    The terminal's Ctrl-C does not reach it; the run tells its services when to end, in its order.
    """
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for path, flags, targets in (
        (Path(os.devnull), os.O_RDONLY, (0,)),
        (log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, (1, 2)),
    ):
        opened = os.open(path, flags, 0o644)
        for target in targets:
            os.dup2(opened, target)
        os.close(opened)
    setproctitle(f"mts1b-desk {log.stem} --settings {settings}")
    sys.exit(run_service(service, DeskSettings.read(settings)))
