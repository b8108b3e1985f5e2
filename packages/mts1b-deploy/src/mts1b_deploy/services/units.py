"""Units and users of services: rendered, brought to systemd, taken away again."""

import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from mts1b_deploy.errors import PrefixError, StartFailed
from mts1b_deploy.layout import Layout
from mts1b_deploy.render import template_environment
from mts1b_deploy.services.definition import (
    ServiceDefinition,
    Services,
    TimerDefinition,
    is_word,
    user_of,
)

UNITS = Path("/etc/systemd/system")
_TEMPLATE = "service.service.j2"
PAGE_UNIT = "mts1b-page@.service"
"""What tells somebody that a timer's command has failed; one for the host."""


def unit_name(name: str) -> str:
    """The unit of a service."""
    return f"{user_of(name)}.service"


def unit_path(name: str) -> Path:
    """Where systemd finds it."""
    return UNITS / unit_name(name)


def render_service(layout: Layout, services: Services, name: str, service: ServiceDefinition) -> str:
    """The unit of one service.

    Raises:
        PrefixError: a word cannot stand in a unit.
    """
    program = services.program(name, service)
    words = (str(program), *service.command[1:])
    secrets = (*service.credentials.values(), *service.sealed.values())
    for word in (*words, *service.environment.values(), *map(str, secrets)):
        if not is_word(word):
            raise PrefixError(f"service {name}: {word!r} cannot stand in a unit of systemd: no quotes, no backslashes")
    handed = layout.handed(user_of(name))
    certificates = {"MTS1B_TLS_DIR": str(handed)}
    if not service.certificates:
        certificates["MTS1B_SERVICE"] = user_of(name)
    return (
        template_environment()
        .get_template(_TEMPLATE)
        .render(
            template=f"mts1b_deploy/nats/{_TEMPLATE}",
            name=name,
            user=user_of(name),
            words=words,
            bus=layout.unit_name,
            environment={"MTS1B_CONFIG": str(layout.config), **certificates, **service.environment},
            credentials=service.credentials,
            sealed=service.sealed,
            owns=service.owns,
            watchdog=service.watchdog,
        )
    )


def render_timer(layout: Layout, services: Services, name: str, timer: TimerDefinition) -> dict[Path, str]:
    """The two units of a timer: what is done, and when.

    Raises:
        PrefixError: a word cannot stand in a unit.
    """
    words = (str(services.program(name, timer)), *timer.command[1:])
    for word in (*words, timer.when):
        if not is_word(word):
            raise PrefixError(f"timer {name}: {word!r} cannot stand in a unit of systemd: no quotes, no backslashes")
    values = {"name": name, "words": words, "when": timer.when, "prefix": layout.prefix, "config": layout.config}
    return {UNITS / f"{user_of(name)}.{kind}": _rendered(f"timer.{kind}.j2", **values) for kind in ("service", "timer")}


def render_page(layout: Layout, services: Services) -> str:
    """The unit that tells somebody of a command that failed."""
    credentials = {key: path for each in services.services.values() for key, path in each.credentials.items()}
    sealed = {key: path for each in services.services.values() for key, path in each.sealed.items()}
    return _rendered(
        "page.service.j2", venv=services.venv, config=layout.config, credentials=credentials, sealed=sealed
    )


def _rendered(template: str, **values: object) -> str:
    text = template_environment().get_template(template)
    return text.render(template=f"mts1b_deploy/nats/{template}", **values)


def sysusers(names: Iterable[str]) -> str:
    """What systemd-sysusers makes users from."""
    lines = [f'u {user} - "MTS1B {user.removeprefix("mts1b-")}" /var/lib/{user}' for user in names]
    return "\n".join(["# Written by mts1b-deploy: a user for the bus, and one for each service.", *lines]) + "\n"


def make_users(path: Path) -> None:
    """Have systemd make the users in ``path`` that are missing.

    Raises:
        StartFailed: it could not.
    """
    _run("systemd-sysusers", str(path))


def start_units(changed: Mapping[str, bool]) -> list[str]:
    """Enable and start services; those whose unit or certificate set changed are started anew. What was done."""
    _run("systemctl", "daemon-reload")
    said: list[str] = []
    for name, differs in changed.items():
        unit = unit_name(name)
        running = is_active(unit)
        _run("systemctl", "enable", "--quiet", unit)
        if running and differs:
            _run("systemctl", "restart", "--no-block", unit)
        elif not running:
            _run("systemctl", "start", "--no-block", unit)
        said.append(f"{unit} {'restarted' if running and differs else 'running' if running else 'started'}")
    return said


def start_timers(names: Iterable[str]) -> list[str]:
    """Enable and start timers; what was done."""
    for name in names:
        _run("systemctl", "enable", "--now", "--quiet", f"{user_of(name)}.timer")
    return [f"{user_of(name)}.timer waits" for name in names]


def stop_units(units: Iterable[str]) -> None:
    """Stop units side by side, disable them, and forget that some have failed; those that are not there do no harm."""
    names = list(units)
    kept = [name for name in names if (UNITS / name).exists()]
    for verb, those in (("stop", names), ("disable", kept), ("reset-failed", names)):
        if those:
            subprocess.run([found_program("systemctl"), verb, "--quiet", *those], capture_output=True, check=False)


def units_of(services: Iterable[str], timers: Iterable[str]) -> list[str]:
    """What systemd runs for an installation; timers first, so that none begins while services are stopped."""
    timers = tuple(timers)
    waiting = [f"{user_of(name)}.timer" for name in timers]
    told = ["mts1b-page@*.service"] if timers else []
    return [*waiting, *map(unit_name, timers), *told, *map(unit_name, services)]


def is_active(unit: str) -> bool:
    """Whether systemd runs it."""
    said = subprocess.run([found_program("systemctl"), "is-active", unit], capture_output=True, text=True, check=False)
    return said.stdout.strip() in {"active", "activating", "reloading"}


def found_program(program: str) -> str:
    """Where a program of the system is.

    Raises:
        StartFailed: nowhere.
    """
    path = shutil.which(program) or shutil.which(program, path="/usr/bin:/bin:/usr/sbin:/sbin")
    if path is None:
        raise StartFailed(f"there is no {program}: services as units need systemd")
    return path


def _run(program: str, *arguments: str) -> None:
    done = subprocess.run(
        [found_program(program), *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode != 0:
        raise StartFailed(f"`{program} {' '.join(arguments)}` failed: {(done.stderr or done.stdout).strip()}")
