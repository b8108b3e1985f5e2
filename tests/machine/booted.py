"""A booted Debian to install into: this machine's own files, under a layer that is thrown away, with systemd.

It needs root, overlayfs, and systemd-nspawn, which `scripts/get-program.sh` finds or fetches. Loopback is its only
network.
"""

import contextlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

import psutil

PATIENCE = 120.0
_GET_PROGRAM = Path(__file__).parents[2] / "scripts" / "get-program.sh"
_UP = {"running", "degraded"}


class Booted:
    """One machine. What is written in it stays until it is thrown away, also over :meth:`reboot`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.root = directory / "root"
        self._process: subprocess.Popen[bytes] | None = None
        for name in ("changed", "work", "root"):
            (directory / name).mkdir()
        layers = f"lowerdir=/,upperdir={directory / 'changed'},workdir={directory / 'work'}"
        _host("mount", "-t", "overlay", "overlay", "-o", layers, self.root)
        # units that this machine starts are not this test's
        wanted = self.root / "etc" / "systemd" / "system" / "multi-user.target.wants"
        for unit in wanted.iterdir() if wanted.is_dir() else ():
            unit.unlink()
        (self.root / "etc" / "machine-id").write_text("")

    def boot(self) -> float:
        """Boot, and return when systemd says that it is up: the seconds that it took."""
        nspawn = Path(_host(_GET_PROGRAM, "systemd-container", "systemd-nspawn")) / "systemd-nspawn"
        began = time.monotonic()
        with (self._directory / "console.log").open("ab") as console:
            self._process = subprocess.Popen(
                [
                    nspawn, "--quiet", "--boot", "--directory", self.root, "--machine=mts1b-test", "--register=no",
                    "--keep-unit", "--private-network", "--console=pipe", "--link-journal=no",
                ],
                stdin=subprocess.DEVNULL, stdout=console, stderr=console,
            )  # fmt: skip
        while time.monotonic() - began < PATIENCE:
            with contextlib.suppress(AssertionError, psutil.Error):
                if self.run("systemctl", "is-system-running", code=None).strip() in _UP:
                    return time.monotonic() - began
            time.sleep(0.1)
        raise AssertionError(f"it does not boot: {(self._directory / 'console.log').read_text()[-3000:]}")

    def run(self, *command: str | Path, code: int | None = 0, timeout: float = 300) -> str:
        """Run a command in it as root; its output. Fails when the exit code is not ``code`` (None: any)."""
        assert self._process is not None
        children = psutil.Process(self._process.pid).children()
        assert children, "the machine is down"
        done = subprocess.run(
            [
                "/usr/bin/nsenter", "--target", str(children[0].pid), "--mount", "--uts", "--ipc", "--net", "--pid",
                "--root", "--wd", "/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root",
                "LANG=C.UTF-8", *map(str, command),
            ],
            capture_output=True, text=True, check=False, timeout=timeout,
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert code is None or done.returncode == code, f"{command} ended with {done.returncode}:\n{said[-4000:]}"
        return said

    def reboot(self) -> float:
        """Shut it down, and boot it again."""
        self.shut_down()
        return self.boot()

    def shut_down(self) -> None:
        """Have systemd end everything."""
        if self._process is None:
            return
        with contextlib.suppress(AssertionError, psutil.Error, subprocess.TimeoutExpired):
            self.run("systemctl", "poweroff", code=None, timeout=30)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def throw_away(self) -> None:
        """End it, and forget what was written."""
        self.shut_down()
        subprocess.run(["/usr/bin/umount", "--lazy", self.root], check=False)


def _host(*command: str | Path) -> str:
    done = subprocess.run(["/usr/bin/env", *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.stderr}"
    return done.stdout.strip()


@contextlib.contextmanager
def booted() -> Generator[Booted]:
    """A machine that is not booted yet; gone at the end of the block. Its layer is in memory."""
    directory = Path(tempfile.mkdtemp(prefix="mts1b-booted-", dir="/dev/shm"))
    made: Booted | None = None
    try:
        made = Booted(directory)
        yield made
    finally:
        if made is not None:
            made.throw_away()
        shutil.rmtree(directory, ignore_errors=True)
