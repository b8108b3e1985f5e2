"""What the commands print. People's text and JSON go to standard output, complaints to standard error.

Colours appear only on a terminal; text is never wrapped when it is piped, so that paths stay whole.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mts1b_deploy.layout import Layout, default_prefix

if TYPE_CHECKING:  # what `status` and `stop` do not need is not loaded for them
    from mts1b_deploy.backup.drill import Drill
    from mts1b_deploy.backup.manifest import Backup
    from mts1b_deploy.backup.restore import Restored
    from mts1b_deploy.doctor import Deviation
    from mts1b_deploy.install import Installed
    from mts1b_deploy.plan import Plan
    from mts1b_deploy.status import Status
    from mts1b_deploy.uninstall import Uninstalled

_STYLES = {
    "created": "green",
    "updated": "yellow",
    "unchanged": "dim",
    "removed": "red",
    "kept": "cyan",
    "problem": "red",
    "accepted": "yellow",
}


def console(*, stderr: bool = False) -> Console:
    """A console for people: no colours, no wrapping when it is not a terminal."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(
        stderr=stderr, highlight=False, markup=False, soft_wrap=True, no_color=None if stream.isatty() else True
    )


def print_json(value: object) -> None:
    """One JSON document."""
    sys.stdout.write(to_json(value, indent=2).decode() + "\n")


def complain(text: str) -> None:
    """An error or a warning, to standard error."""
    console(stderr=True).print(Text(text, style="red" if text.startswith("error") else "yellow"))


def line(what: str, text: str) -> None:
    """One thing that was done: ``created    etc/nats.conf``."""
    console().print(Text.assemble((f"{what:<10} ", _STYLES.get(what, "bold")), text))


def plan_as_dict(plan: Plan) -> dict[str, Any]:
    """A plan for ``--json``."""
    return {
        "profile": plan.profile.name,
        "include": plan.record.include,
        "prefix": str(plan.layout.prefix),
        "url": plan.record.url,
        "monitor": plan.record.monitor,
        "supervisor": plan.record.supervisor,
        "server": {"version": plan.record.server_version, "source": plan.record.server_source},
        "config": str(plan.layout.config),
        "files": [{"path": str(file.path), "action": file.action} for file in plan.files],
        "warnings": [*plan.profile.warnings, *plan.notes],
    }


def show_plan(plan: Plan) -> None:
    """What an install would write."""
    _heading(plan)
    for file in plan.files:
        line(file.action, plan.layout.shown(file.path))
    _warnings(plan)
    console().print("nothing was changed: this is a dry run")


def installed_as_dict(result: Installed) -> dict[str, Any]:
    """An install for ``--json``."""
    return {
        **plan_as_dict(result.plan),
        "changed": result.changed,
        "state": result.server,
        "streams": [asdict(stream) for stream in result.streams],
        "certificates": result.certificates,
        "services": result.services,
        "waiting_for": result.waiting_for,
    }


def show_installed(result: Installed) -> None:
    """What an install did, and what to do next."""
    plan = result.plan
    _heading(plan)
    for file in plan.files:
        line(file.action, plan.layout.shown(file.path))
    line(
        "unchanged" if result.server == "already running" else "started",
        f"nats-server {plan.record.server_version} ({result.server}, {plan.record.supervisor})",
    )
    if result.certificates:
        line("created", f"certificates of {', '.join(result.certificates)}")
    for stream in result.streams:
        line(stream.action, f"stream {stream.stream}")
    for said in result.services:
        line("service", said)
    _warnings(plan)
    out = console()
    if result.waiting_for:
        complain(
            f"warning: streams need three nodes: install {', '.join(result.waiting_for)} too, then the last install "
            "makes the streams"
        )
    out.print(f"NATS listens on {plan.record.url}, monitoring on {plan.record.monitor}")
    if not result.changed:
        out.print("unchanged: everything was as it should be")
    elif plan.record.supervisor == "detached":
        out.print("it survives this terminal, not a reboot: `mts1b-deploy start` after one")
    elif plan.record.supervisor == "systemd":
        out.print("it starts when you log in; `loginctl enable-linger` makes it start at boot")
    else:
        out.print("it starts at boot")


def show_backup(what: str, backup: Backup) -> None:
    """What was saved or brought back."""
    for stream in backup.streams:
        line(what, f"{stream.name}: {stream.messages:,} messages, {stream.size:,} bytes")
    if (host := backup.host) is not None and what == "saved":
        line(what, f"{', '.join(host.roots)}: {host.databases} databases, {host.size:,} bytes")
        if host.left_out:
            complain(
                f"{len(host.left_out)} keys and certificates are not in it, as it is not encrypted: name who can read "
                "it, --recipient"
            )

    for database in backup.postgres:
        line(what, f"database {database.name} of PostgreSQL: {database.size:,} bytes")


def show_restored(restored: Restored) -> None:
    """What was brought back, and what follows from it."""
    show_backup("restored", restored.backup)
    for each in restored.set_back:
        line("set back", _again(each.durable, each.since, each.until, each.refused))
    for path in restored.aside:
        line("kept", f"{path} (what was there before)")


def show_drill(drill: Drill) -> None:
    """What a rehearsal showed."""
    show_backup("restored", drill.backup)
    line("took", f"{drill.seconds / 60:.1f} minutes until streams, durables and files were back")
    if drill.missing is None:
        line("missing", "not known: the installation does not answer; what was stored since the backup is missing")
    else:
        since = f"stored since {drill.backup.taken_at.isoformat(timespec='seconds')}"
        line("missing", f"{sum(drill.missing.values()):,} events, {since}")
        for name, count in drill.missing.items():
            line("", f"{name}: {count:,}")
    for each in drill.again:
        line("again", _again(each.durable, each.since, each.until, each.refused))
    line("whole", f"{drill.databases} databases, {drill.chains} audit logs were checked")
    if drill.backup.postgres:
        line("read", f"{len(drill.backup.postgres)} dumps of PostgreSQL to their ends; a drill loads them nowhere")
    for problem in drill.damage:
        line("problem", problem)
    for check in drill.checks:
        line("checked" if check.code == 0 else "problem", f"`{check.command}` ended with {check.code}")
        console().print(Text(check.said))


def _again(durable: str, since: int, until: int, refused: str | None) -> str:
    if refused is not None:
        return f"{durable}: NOT, so {since:,} to {until:,} are not delivered again: {refused}"
    return f"{durable}: {since:,} to {until:,} are delivered again, and skipped where they are known"


def show_deviations(found: Sequence[Deviation]) -> None:
    """What the doctor found: one line and its remedy each."""
    for each in found:
        line(each.severity, f"{each.code}: {each.what}")
        line("", f"-> {each.remedy}")
    if not found:
        console().print("nothing deviates from the profile")


def show_uninstalled(layout: Layout, result: Uninstalled) -> None:
    """What an uninstall did."""
    line("stopped" if result.server != "not running" else "unchanged", f"nats-server ({result.server})")
    for path in result.removed:
        line("removed", layout.shown(path))
    for path, reason in result.kept:
        line("kept", f"{path} ({reason})")


def show_status(status: Status) -> None:
    """The status as a small table."""
    state = "running" if status.running else "stopped"
    if status.running and not status.problems:
        state += ", healthy"
    rows = {
        "profile": status.profile,
        "server": f"{state} (nats-server {status.version})",
        "pid": status.pid or "-",
        "uptime": "-" if status.uptime_seconds is None else _duration(status.uptime_seconds),
        "supervisor": f"{status.supervisor}{'' if status.supervised else ', not running'}"
        + (f", {status.restarts} restarts" if status.restarts else ""),
        "url": status.url,
        "monitoring": status.monitor,
        "jetstream": ("on, " if status.jetstream else "off, " if status.running else "") + status.store_dir,
        "prefix": status.prefix,
    }
    out = console()
    for name, value in rows.items():
        out.print(Text.assemble((f"{name:<12}", "bold"), str(value)))
    if status.streams:
        streams = Table(box=None, header_style="bold", pad_edge=False)
        streams.add_column("stream")
        for heading in ("messages", "bytes", "consumers"):
            streams.add_column(heading, justify="right")
        for stream in status.streams:
            streams.add_row(stream.name, f"{stream.messages:,}", f"{stream.bytes:,}", str(stream.consumers))
        out.print(streams)
    for problem in status.problems:
        complain(f"problem: {problem}")
    for warning in status.warnings:
        complain(f"warning: {warning}")


def _heading(plan: Plan) -> None:
    where = f"profile {plan.profile.name} ({plan.profile.summary}) under {plan.layout.prefix}"
    if plan.layout.prefix == default_prefix():
        where += ", the default for every user, root included (--prefix chooses another)"
    console().print(where)


def _warnings(plan: Plan) -> None:
    for warning in (*plan.profile.warnings, *plan.notes):
        complain(f"warning: {warning}")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [f"{days} d" if days else "", f"{hours} h" if hours else "", f"{minutes} min" if minutes else ""]
    return " ".join(part for part in parts if part) or f"{rest} s"
