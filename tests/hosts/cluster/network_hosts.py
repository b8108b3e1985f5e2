"""Hosts of their own on one machine: network namespaces on a bridge, and the network between them broken.

It takes Linux and root: namespaces, a bridge and links are made.
"""

import contextlib
import os
import secrets
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final, Literal

import psutil

Cut = Literal["unplugged", "aborted", "black hole", "island"]
"""How a host is cut off: its link goes down; every connection is reset; packets vanish, and nobody is told; those of
its routes alone vanish, and clients reach it."""

_TABLE: Final = "inet broken"
_VERDICTS: Final = {
    "aborted": ("tcp flags rst accept", "reject with tcp reset"),
    "black hole": ("drop",),
    "island": ("tcp sport 6222 drop", "tcp dport 6222 drop"),
}


class Hosts:
    """A bridge, and hosts on it. The test itself stands on the bridge, as clients do.

    Args:
        root: what is installed on them lies below it, a folder for each.
        names: the hosts.
    """

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        self.root = root
        self.names = tuple(names)
        self._tag = secrets.token_hex(3)
        self._net = f"10.{secrets.randbelow(100) + 100}.{secrets.randbelow(250)}"
        self.bridge = f"br{self._tag}"
        _run("ip", "link", "add", self.bridge, "type", "bridge")
        _run("ip", "address", "add", f"{self._net}.254/24", "dev", self.bridge)
        _run("ip", "link", "set", self.bridge, "up")
        for name in self.names:
            space, link = self._space(name), self._link(name)
            _run("ip", "netns", "add", space)
            _run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", space)
            _run("ip", "link", "set", link, "master", self.bridge, "up")
            _run("ip", "-n", space, "address", "add", f"{self.address(name)}/24", "dev", "eth0")
            _run("ip", "-n", space, "link", "set", "eth0", "up")
            _run("ip", "-n", space, "link", "set", "lo", "up")

    def address(self, name: str) -> str:
        """Where the others reach a host."""
        return f"{self._net}.{self.names.index(name) + 1}"

    def at(self, address: str) -> str:
        """The host that has this address."""
        return next(name for name in self.names if self.address(name) == address)

    def places(self, *names: str) -> str:
        """Hosts as options take them: ``n1=10.0.0.1,n2=10.0.0.2``."""
        return ",".join(f"{name}={self.address(name)}" for name in names)

    def prefix(self, name: str) -> Path:
        return self.root / name

    def deploy(self, name: str, *arguments: str, code: int | None = 0) -> str:
        """Run ``mts1b-deploy`` on a host."""
        done = subprocess.run(
            self._words(name, *self._deploy(name, *arguments)), capture_output=True, text=True, check=False, timeout=300
        )
        said = f"{name}: {arguments} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        assert code is None or done.returncode == code, said
        return done.stdout + ("" if "--json" in arguments else done.stderr)

    def begin_deploy(self, name: str, *arguments: str, into: IO[str]) -> subprocess.Popen[str]:
        """Start ``mts1b-deploy`` on a host, and do not wait for it."""
        return self.begin(name, *self._deploy(name, *arguments), into=into)

    def begin(self, name: str, *words: str, into: IO[str]) -> subprocess.Popen[str]:
        """Start a Python program on a host; what it says goes to a file. It ends with the hosts at the latest."""
        return subprocess.Popen(self._words(name, *words), stdout=into, stderr=subprocess.STDOUT, text=True)

    def cut(self, name: str, how: Cut = "unplugged") -> None:
        """Cut a host off from all others. What runs on it reaches itself."""
        if how == "unplugged":
            _run("ip", "link", "set", self._link(name), "down")
            return
        table = [f"table {_TABLE} {{", "chain verdict {", *_VERDICTS[how], "}"]
        for hook, interface in (("input", "iifname"), ("output", "oifname")):
            table += [f"chain {hook} {{", f"type filter hook {hook} priority 0", f"{interface} eth0 jump verdict", "}"]
        _run("ip", "netns", "exec", self._space(name), "nft", "\n".join([*table, "}"]))

    def mend(self, name: str, how: Cut = "unplugged") -> None:
        """End that."""
        if how == "unplugged":
            _run("ip", "link", "set", self._link(name), "up")
        else:
            _run("ip", "netns", "exec", self._space(name), "nft", "delete", "table", *_TABLE.split())

    def remove(self) -> None:
        """End what runs on the hosts, then take them away."""
        for _ in range(3):
            for process in psutil.process_iter():
                with contextlib.suppress(psutil.Error):
                    if any(str(self.root) in word for word in process.cmdline()) and process.pid != os.getpid():
                        process.kill()
        for name in self.names:
            subprocess.run(["ip", "netns", "delete", self._space(name)], check=False, capture_output=True)  # noqa: S607
        subprocess.run(["ip", "link", "delete", self.bridge], check=False, capture_output=True)  # noqa: S607

    def _words(self, name: str, *words: str) -> list[str]:
        return ["ip", "netns", "exec", self._space(name), sys.executable, *words]

    def _deploy(self, name: str, *arguments: str) -> tuple[str, ...]:
        return ("-m", "mts1b_deploy", *arguments, "--prefix", str(self.prefix(name)))

    def _space(self, name: str) -> str:
        return f"mts1b-{self._tag}-{name}"

    def _link(self, name: str) -> str:
        return f"v{self._tag}{name}"


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"`{' '.join(command)}` failed: {done.stderr}"
