"""Turning the templates in ``mts1b_deploy/nats`` into files, and asking the real server whether they are valid."""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from mts1b_deploy.errors import DeployError, PrefixError
from mts1b_deploy.layout import Layout
from mts1b_deploy.profiles import Profile
from mts1b_deploy.record import InstallRecord


def _quoted(value: object) -> str:
    """A string of nats-server's configuration language."""
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def _systemd(value: object) -> str:
    """One word of a systemd command line; ``render_unit`` has refused what cannot be one."""
    return '"' + str(value).replace("%", "%%") + '"'


def template_environment() -> Environment:
    """Where the templates are, and how they are rendered: a name without a value is an error."""
    # Nothing here is HTML; each template quotes for the language that it writes.
    environment = Environment(
        loader=PackageLoader("mts1b_deploy", "nats"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701
    )
    environment.filters["quoted"] = _quoted
    environment.filters["systemd"] = _systemd
    return environment


def render_minimal(layout: Layout, profile: Profile, record: InstallRecord) -> str:
    """The configuration of a server without authentication; ``secured.py`` renders the others."""
    return (
        template_environment()
        .get_template(profile.template)
        .render(
            template=f"mts1b_deploy/nats/{profile.template}",
            server_name=layout.server_name,
            host=record.host,
            port=record.port,
            monitor_port=record.monitor_port,
            pid_file=layout.nats_pid,
            log_file=layout.nats_log,
            store_dir=layout.store,
        )
    )


def render_unit(
    layout: Layout,
    profile: Profile,
    *,
    system: bool = False,
    user: str | None = None,
    follow: bool = False,
    asks: bool = False,
) -> str:
    """The systemd unit that runs the server: of the user, or, locked in, of the machine, there as ``user``.

    Args:
        layout: the prefix.
        profile: what is installed.
        system: whether it is one of the machine.
        user: as whom it runs there.
        follow: whether other sites are followed.
        asks: whether it starts only while no other site serves in its place.

    Raises:
        PrefixError: systemd runs no program below such a prefix.
    """
    if found := [character for character in "\"'\\$" if character in str(layout.prefix)]:
        raise PrefixError(
            f"systemd runs no program whose path has {' or '.join(found)} in it, as {layout.prefix} has: "
            f"choose another --prefix, or use --supervisor detached"
        )
    return _unit(
        "nats-system.service.j2" if system else "nats.service.j2",
        layout,
        profile=profile.name,
        binary=layout.binary,
        nats_conf=layout.nats_conf,
        user=user,
        follow_name=layout.follow_unit.name if follow else "",
        asks=asks,
        writable=(layout.data, layout.logs, layout.run),
    )


def render_follow_unit(layout: Layout) -> str:
    """The systemd unit that keeps up with another site; the server's unit starts it."""
    return _unit("follow.service.j2", layout, follow_name=layout.follow_unit.name)


def _unit(template: str, layout: Layout, **values: object) -> str:
    return (
        template_environment()
        .get_template(template)
        .render(
            template=f"mts1b_deploy/nats/{template}",
            unit_name=layout.unit_name,
            prefix=layout.prefix,
            python=sys.executable,
            **values,
        )
    )


def validate_nats_conf(binary: Path, text: str, *, beside: Callable[[Path], Mapping[Path, Path]] | None = None) -> str:
    """Let the real server check a configuration before it goes anywhere; the digest by which it will know it.

    Args:
        binary: the server.
        text: the configuration.
        beside: is given the directory in which it is checked; makes files there, and says which paths they stand for.

    Raises:
        DeployError: the server refuses it; the message has its words.
    """
    with tempfile.TemporaryDirectory(prefix="mts1b-deploy-") as directory:
        draft = Path(directory) / "nats.conf"
        stand_ins: Mapping[Path, Path] = beside(Path(directory)) if beside else {}
        for real, standing_in in stand_ins.items():
            text = text.replace(_quoted(real)[1:-1], str(standing_in))
        draft.write_text(text)
        answer = subprocess.run([binary, "-t", "-c", draft], capture_output=True, text=True, timeout=30, check=False)
    said = (answer.stdout + answer.stderr).strip()
    if answer.returncode != 0:
        raise DeployError(f"nats-server refuses the configuration rendered for it: {said.replace(str(draft), 'line')}")
    return said.rpartition("(")[2].rstrip(")")
