"""Services of another release: one at a time, each ready before the next one is touched, or all as before.

A release is an environment with the packages of the services. Their units lead into one; a change of release writes one
unit, starts its service anew, and waits until systemd says that it is ready, that it stays so, and that its durables
stand where they stood or further on. While it goes on the old and the new side are at work on one bus.
"""

import subprocess
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from mts1b_deploy.errors import ReleaseFailed, ReleaseRefused, StartFailed
from mts1b_deploy.journal import Journal
from mts1b_deploy.layout import Layout
from mts1b_deploy.services.definition import Services, certificates_of
from mts1b_deploy.services.units import (
    PAGE_UNIT,
    UNITS,
    found_program,
    render_page,
    render_service,
    render_timer,
    unit_name,
    unit_path,
)

_POLL: Final = 0.2

Stands = Mapping[tuple[str, str], int]
"""By stream and durable, up to where everything is acknowledged."""


class Manager(Protocol):
    """What brings units into effect: systemd."""

    def reload(self) -> None:
        """Read the units anew."""
        ...

    def restart(self, unit: str, timeout: float) -> None:
        """Start a service anew, and return when it says that it is ready.

        Raises:
            StartFailed: it does not become ready.
        """
        ...

    def restarts(self, unit: str) -> int | None:
        """How often it was started again by itself; None while it is not ready."""
        ...


class Systemd:
    """The machine's own. Implements ``Manager``."""

    def reload(self) -> None:
        """Read the units anew."""
        self._run("daemon-reload", timeout=60)

    def restart(self, unit: str, timeout: float) -> None:
        """Start a service anew; of type ``notify``, so that this returns when it is ready."""
        self._run("restart", unit, timeout=timeout)

    def restarts(self, unit: str) -> int | None:
        """As systemd counts them."""
        said = self._run("show", "--property=ActiveState,NRestarts", unit, timeout=60)
        facts: dict[str, str] = {}
        for line in said.splitlines():
            name, _, value = line.partition("=")
            facts[name] = value
        return int(facts.get("NRestarts") or 0) if facts.get("ActiveState") == "active" else None

    def _run(self, *words: str, timeout: float) -> str:
        command = [found_program("systemctl"), *words]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired:
            raise StartFailed(f"`systemctl {' '.join(words)}` has not ended within {timeout:g} s") from None
        if done.returncode != 0:
            raise StartFailed(f"`systemctl {' '.join(words)}` failed: {(done.stderr or done.stdout).strip()}")
        return done.stdout


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How a change of release goes.

    Attributes:
        settle: seconds that each service must stay ready before the next one is touched.
        timeout: seconds for a service to become ready.
        stands: where the durables of some services stand, as which these come to the bus.
        remember: told what a file will hold, before it is written.
        manager: what brings units into effect.
        on_step: told which service comes next.
    """

    stands: Callable[[Collection[str]], Stands]
    remember: Callable[[Path, str], object]
    settle: float = 5.0
    timeout: float = 120.0
    manager: Manager = field(default_factory=Systemd)
    on_step: Callable[[str], object] = lambda _: None


def exchange(layout: Layout, before: Services, after: Services, journal: Journal, terms: Terms) -> dict[str, float]:
    """Bring every service from one environment to another, in the order of their file; the seconds that each took.

    What ``journal`` takes back, when it is not committed: every unit as it was, and every service started anew on it,
    the last one first.

    Raises:
        ReleaseRefused: a service does not run; nothing was changed.
        ReleaseFailed: one does not become or stay ready, or lost its place.
    """
    _ensure_all_run(before, terms.manager)
    took: dict[str, float] = {}
    for name, service in after.services.items():
        unit, text = unit_name(name), render_service(layout, after, name, service)
        terms.on_step(name)
        comes_as = certificates_of(name, service)
        began, stood = time.monotonic(), terms.stands(comes_as)
        journal.on_rollback(lambda unit=unit: terms.manager.restart(unit, terms.timeout))
        journal.on_rollback(terms.manager.reload)
        _write(unit_path(name), text, journal, terms)
        try:
            terms.manager.reload()
            terms.manager.restart(unit, terms.timeout)
            _ensure_it_stays(unit, terms)
        except StartFailed as error:
            raise ReleaseFailed(
                f"{name} of {after.venv} is not ready: {error}. `journalctl -u {unit}` says why"
            ) from error
        _ensure_places_are_kept(name, stood, terms.stands(comes_as))
        took[name] = time.monotonic() - began
    for name, timer in after.timers.items():
        for path, text in render_timer(layout, after, name, timer).items():
            _write(path, text, journal, terms)
    if after.timers:
        _write(UNITS / PAGE_UNIT, render_page(layout, after), journal, terms)
    terms.manager.reload()
    return took


def not_ready(services: Services, manager: Manager) -> list[str]:
    """Which services are not ready."""
    return [name for name in services.services if manager.restarts(unit_name(name)) is None]


def _write(path: Path, text: str, journal: Journal, terms: Terms) -> None:
    terms.remember(path, text)
    journal.write(path, text.encode())


def _ensure_all_run(services: Services, manager: Manager) -> None:
    if away := not_ready(services, manager):
        raise ReleaseRefused(
            f"{', '.join(away)} {'is' if len(away) == 1 else 'are'} not ready: bring that back first "
            "(`mts1b-deploy services ls`), so that a release which breaks something is told from one that does not"
        )


def _ensure_it_stays(unit: str, terms: Terms) -> None:
    first = terms.manager.restarts(unit)
    until = time.monotonic() + terms.settle
    while True:
        now = terms.manager.restarts(unit)
        if now is None or now != first:
            raise StartFailed(f"it did not stay ready for {terms.settle:g} s")
        if time.monotonic() >= until:
            return
        time.sleep(_POLL)


def _ensure_places_are_kept(name: str, before: Stands, after: Stands) -> None:
    for (stream, durable), floor in before.items():
        now = after.get((stream, durable))
        if now is None or now < floor:
            where = "is gone" if now is None else f"stands at {now:,}"
            raise ReleaseFailed(
                f"while {name} was started anew durable {durable} on {stream}, which stood at {floor:,}, {where}"
            )
