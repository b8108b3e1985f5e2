"""A process that has everything imported and forks a child per request: a restart costs 20 ms, not a second.

Reads one JSON document per line (the child's job), answers ``started <pid>`` and ``ended <pid> <status>``. When its
input ends it kills what still runs. It never has threads or an event loop of its own, so that forking is safe.
"""

import json
import os
import select
import signal
import sys
from pathlib import Path

import crash_child


def main() -> None:
    running: set[int] = set()
    pending = b""
    while True:
        if select.select([0], [], [], 0.005)[0]:
            read = os.read(0, 65_536)
            if not read:
                break
            *lines, pending = (pending + read).split(b"\n")
            for line in lines:
                pid = os.fork()
                if pid == 0:
                    _be_child(json.loads(line))
                running.add(pid)
                print(f"started {pid}", flush=True)
        for pid in list(running):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                running.discard(pid)
                print(f"ended {pid} {os.waitstatus_to_exitcode(status)}", flush=True)
    for pid in running:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _be_child(job: dict[str, object]) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    log = os.open(Path(str(job["log"])), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    code = 1
    try:
        crash_child.run(job)
        code = 0
    except BaseException as error:  # noqa: BLE001 - whatever it was belongs into the log
        code = crash_child.AGAIN if crash_child.is_temporary(error) else 1
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
