"""Whether the server is the program that was installed, on the disk and in memory."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from mts1b_deploy.doctor.deviation import Deviation
from mts1b_deploy.layout import Layout
from mts1b_deploy.record import InstallRecord, digest_of
from mts1b_deploy.server_program import changed


def check_program(layout: Layout, record: InstallRecord, pid: int | None) -> Iterator[Deviation]:
    """Compare the server's file, and what process ``pid`` runs, with the fingerprint on record."""
    installed = record.files.get(str(layout.binary))
    if there := changed(layout, record):
        yield Deviation(
            "server-changed",
            f"{layout.binary} is not the nats-server that was installed: its SHA-256 is {there}, not {installed}",
            "find out who changed it; `mts1b-deploy install --overwrite` puts that of this environment in its place",
        )
    elif not layout.binary.exists():
        yield Deviation("server-changed", f"{layout.binary} is gone", "`mts1b-deploy install` puts it back")
    with suppress(OSError):  # of another user, or a system without /proc: it cannot be seen
        running = digest_of(Path(f"/proc/{pid}/exe")) if pid is not None else None
        if running not in (None, installed):
            yield Deviation(
                "server-changed",
                f"process {pid} runs another program than the nats-server that was installed: its SHA-256 is "
                f"{running}, not {installed}",
                "find out who started it; `mts1b-deploy restart` runs the installed one",
            )
