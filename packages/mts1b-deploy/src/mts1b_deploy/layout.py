"""Where everything of one installation lives: one prefix, and one file in the user's config directory."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from mts1b_deploy.errors import PrefixError


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths below one prefix. Nothing here touches the disk."""

    prefix: Path

    @property
    def identity(self) -> str:
        """A short name of this prefix, to tell its server and unit from those of another prefix."""
        return hashlib.sha256(str(self.prefix).encode()).hexdigest()[:8]

    @property
    def server_name(self) -> str:
        """The server's name."""
        return f"mts1b-{self.identity}"

    @property
    def unit_name(self) -> str:
        """The systemd user unit; the default prefix has the plain name."""
        return "mts1b-nats.service" if self.prefix == default_prefix() else f"mts1b-nats-{self.identity}.service"

    @property
    def unit(self) -> Path:
        """Where systemd's user manager looks for that unit."""
        return config_home() / "systemd" / "user" / self.unit_name

    @property
    def system_unit(self) -> Path:
        """Where the machine's own systemd looks for it, when root installs."""
        return Path("/etc/systemd/system") / self.unit_name

    @property
    def follow_unit(self) -> Path:
        """Where systemd looks for the unit that keeps up with another site."""
        return self.system_unit.with_name(self.unit_name.replace(".service", "-follow.service"))

    @property
    def binary(self) -> Path:
        """The nats-server."""
        return self.prefix / "bin" / "nats-server"

    @property
    def binary_before(self) -> Path:
        """The one that ran before the last upgrade exchanged it."""
        return self.binary.with_name("nats-server.before")

    @property
    def nats_conf(self) -> Path:
        """Its configuration."""
        return self.prefix / "etc" / "nats.conf"

    @property
    def pki(self) -> Path:
        """Certificates and keys; on the node that made them the authority too."""
        return self.prefix / "etc" / "pki"

    @property
    def handed_out(self) -> Path:
        """Copies of certificates, in a directory for each system user."""
        return self.prefix / "etc" / "handed"

    def handed(self, user: str) -> Path:
        """Where a system user finds its copies."""
        return self.handed_out / user

    @property
    def callout(self) -> Path:
        """Public keys of those who let people in, written by ``mts1b auth init``; without it nobody is let in."""
        return self.prefix / "etc" / "auth" / "callout.json"

    @property
    def encryption_key(self) -> Path:
        """The key with which the store is encrypted, as a line of the server's configuration."""
        return self.prefix / "etc" / "encryption.conf"

    @property
    def observability(self) -> Path:
        """Settings for Prometheus and Grafana."""
        return self.prefix / "etc" / "observability"

    @property
    def metrics(self) -> Path:
        """Where services of this host announce what Prometheus may ask them."""
        return self.prefix / "run" / "metrics"

    @property
    def config(self) -> Path:
        """The prefix's copy of ``mts1b.toml``."""
        return self.prefix / "etc" / "mts1b.toml"

    @property
    def services(self) -> Path:
        """What this host runs beside the server."""
        return self.prefix / "etc" / "services.toml"

    @property
    def sysusers(self) -> Path:
        """From what systemd makes the users of the server and of services."""
        return Path("/etc/sysusers.d") / self.unit_name.replace(".service", ".conf")

    @property
    def stop_file(self) -> Path:
        """While it is there, adapters of brokers on this host trade nothing."""
        return self.prefix / "stop"

    @property
    def record(self) -> Path:
        """What was installed and which files were written."""
        return self.prefix / "etc" / "install.json"

    @property
    def data(self) -> Path:
        """What ``uninstall`` keeps."""
        return self.prefix / "data"

    @property
    def data_marker(self) -> Path:
        """Says that ``data`` is ours, so that ``uninstall --purge`` never deletes a stranger's."""
        return self.data / ".mts1b-data"

    @property
    def store(self) -> Path:
        """JetStream's store directory."""
        return self.data / "nats"

    @property
    def positions(self) -> Path:
        """Of a mirror: how far the durables of the other site have come."""
        return self.data / "positions.json"

    @property
    def logs(self) -> Path:
        """The directory of the logs."""
        return self.prefix / "log"

    @property
    def nats_log(self) -> Path:
        """The server's log; the server rotates it."""
        return self.logs / "nats.log"

    @property
    def nats_output(self) -> Path:
        """What the server writes before its log is open and while it crashes."""
        return self.logs / "nats-output.log"

    @property
    def supervisor_log(self) -> Path:
        """The detached supervisor's log."""
        return self.logs / "supervisor.log"

    @property
    def run(self) -> Path:
        """Files that mean something only while processes run."""
        return self.prefix / "run"

    @property
    def lock(self) -> Path:
        """Held by the one mts1b-deploy that changes this prefix."""
        return self.run / "deploy.lock"

    @property
    def supervisor_lock(self) -> Path:
        """Held by the one supervisor of this prefix as long as it lives."""
        return self.run / "supervisor.lock"

    @property
    def supervisor_state(self) -> Path:
        """What the supervisor last did (``SupervisorState``)."""
        return self.run / "supervisor.json"

    @property
    def nats_pid(self) -> Path:
        """The server's own pid file."""
        return self.run / "nats.pid"

    @property
    def server_command(self) -> list[str]:
        """How the server is started; a process with exactly this command line is ours."""
        return [str(self.binary), "-c", str(self.nats_conf)]

    def shown(self, path: Path) -> str:
        """The path as people want to read it: relative to the prefix when inside."""
        return str(path.relative_to(self.prefix)) if path.is_relative_to(self.prefix) else str(path)


def layout_of(prefix: Path | None) -> Layout:
    """The layout below ``prefix``, or below the default one.

    Raises:
        PrefixError: the path cannot be written into configuration files.
    """
    chosen = (prefix or default_prefix()).expanduser().absolute()
    chosen = Path(os.path.normpath(chosen))
    if any(ord(character) < 32 or ord(character) == 127 for character in str(chosen)):
        raise PrefixError(f"the prefix {str(chosen)!r} has control characters in it: choose another with --prefix")
    return Layout(chosen)


def default_prefix() -> Path:
    """``$XDG_DATA_HOME/mts1b``, by default ``~/.local/share/mts1b``; for root as for everybody else."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "mts1b"


def config_home() -> Path:
    """``$XDG_CONFIG_HOME``, by default ``~/.config``."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
