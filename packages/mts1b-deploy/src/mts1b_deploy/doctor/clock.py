"""This host's clock against the world's, as chrony or systemd-timesyncd tells it: also on one node."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Final, NamedTuple

from mts1b_deploy.doctor.deviation import Deviation

WARNING: Final = 0.05
"""Seconds by which the clock may be off: orders and quotes of others are compared with it."""
CRITICAL: Final = 1.0
"""Seconds beyond which certificates, message ages and lag go wrong."""

_OFFSET: Final = re.compile(r"^\s*Offset:\s*([+-]?)(.+)$", re.MULTILINE)
_PART: Final = re.compile(r"([\d.]+)(us|ms|s|min|h|d|month|y)")
_DAY: Final = 86_400
_UNITS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1, "min": 60, "h": 3_600, "d": _DAY, "month": 30 * _DAY, "y": 365 * _DAY}
_CHRONY_OFFSET, _CHRONY_LEAP = 4, 13
"""Fields of ``chronyc -c tracking``: seconds that the system's time is off, and the leap status."""


class Clock(NamedTuple):
    """What keeps the clock, and by how much it is off; None: it is not synchronised."""

    kept_by: str
    offset: float | None


def read_clock() -> Clock | None:
    """Ask whatever keeps the clock; None when nothing does that could be asked."""
    if (said := _said("chronyc", "-c", "tracking")) is not None:
        return of_chrony(said)
    if _said("systemctl", "is-active", "systemd-timesyncd") is None:  # timedatectl would wait for it
        return None
    return of_timesyncd(_said("timedatectl", "timesync-status") or "")


def of_chrony(said: str) -> Clock | None:
    """The clock by ``chronyc -c tracking``."""
    fields = said.strip().split(",")
    if len(fields) <= _CHRONY_LEAP:
        return None
    return Clock("chrony", None if fields[_CHRONY_LEAP] == "Not synchronised" else float(fields[_CHRONY_OFFSET]))


def of_timesyncd(said: str) -> Clock | None:
    """The clock by ``timedatectl timesync-status``, which tells no offset before it has heard a server."""
    if "Server:" not in said:
        return None
    found = _OFFSET.search(said)
    if found is None:
        return Clock("systemd-timesyncd", None)
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(found[2]))
    return Clock("systemd-timesyncd", -seconds if found[1] == "-" else seconds)


def check_clock(clock: Clock | None) -> Iterator[Deviation]:
    """Whether the clock is right; nothing is told of one that nobody here keeps, as in a container."""
    if clock is None:
        return
    if clock.offset is None:
        yield Deviation(
            "clock-offset",
            f"{clock.kept_by} has not synchronised this host's clock: nobody knows how far it is off",
            "see whether it reaches a time server: `chronyc sources`, `timedatectl timesync-status`",
        )
    elif abs(clock.offset) >= WARNING:
        critical = abs(clock.offset) >= CRITICAL
        yield Deviation(
            "clock-offset",
            f"this host's clock is off by {abs(clock.offset):.3f} s, says {clock.kept_by}: "
            + ("certificates, message ages and lag go wrong" if critical else "times of events are not comparable"),
            "`chronyc makestep`, or restart systemd-timesyncd; see what moved the clock",
        )


def _said(program: str, *arguments: str) -> str | None:
    path = shutil.which(program)
    if path is None:
        return None
    try:
        done = subprocess.run([path, *arguments], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
