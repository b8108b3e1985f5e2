"""What a host runs beside its server: the file that ``mts1b-deploy install --services FILE`` reads."""

import re
import shlex
import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from mts1b_deploy.errors import ConfigFileError

NAME: Final = r"^[a-z][a-z0-9-]{0,22}$"
"""Names of services: ``mts1b-`` and the name are a system user, whose name has at most 32 letters."""
_REMEDY: Final = "`mts1b-deploy services example` shows how it is written"
NATS_USER: Final = "mts1b-nats"
"""As whom nats-server runs."""

EXAMPLE: Final = """\
# What this host runs, for `mts1b-deploy install --services FILE`. Every command is found in the environment `venv`.
venv = "{venv}"

# The reference desk; `mts1b-desk settings --session live > desk.json`, with "state": "." in it: each service keeps its
# own state in the directory that it runs in, /var/lib/mts1b-<name>.
[services.operations]
command = "mts1b-desk operations --settings /etc/mts1b/desk.json"
[services.riskengine]
command = "mts1b-desk riskengine --settings /etc/mts1b/desk.json"
[services.oms]
command = "mts1b-desk oms --settings /etc/mts1b/desk.json"
[services.brokers]
command = "mts1b-desk brokers --settings /etc/mts1b/desk.json"
[services.treasury]
command = "mts1b-desk treasury --settings /etc/mts1b/desk.json"
[services.research]
command = "mts1b-desk research --settings /etc/mts1b/desk.json"
[services.marketdata]
command = "mts1b-desk marketdata --settings /etc/mts1b/desk.json"

# Watches, and pages whom [monitoring] in mts1b.toml names.
[services.monitor]
command = "mts1b monitor run"
certificates = ["mts1b-operations"]
# credentials = {{ ntfy-token = "/etc/mts1b/secrets/ntfy-token" }}
# Or encrypted for this host, after `mts1b-deploy services seal /etc/mts1b/secrets/ntfy-token`:
# sealed = {{ ntfy-token = "/etc/mts1b/secrets/ntfy-token.sealed" }}

# Dead letters of readers that do not write their own.
[services.mover]
command = "mts1b deadletters move"
certificates = ["mts1b-operations"]

# For people, after `mts1b auth init`: who lets them in, who answers what they look up, who does what they ask for.
[services.auth]
command = "mts1b auth serve --dir {etc}/auth"
owns = ["{etc}/auth"]
[services.look]
command = "mts1b look serve"
certificates = ["mts1b-look", "mts1b-reader"]
[services.act]
command = "mts1b act serve"
certificates = ["mts1b-act", "mts1b-operations"]
environment = {{ MTS1B_AUDIT_DIR = "." }}
# What they see in a browser, after `mts1b-deploy pki issue mts1b-console --host NAME`. [console] in mts1b.toml says
# where it listens, and tls_pem = "{etc}/handed/mts1b-console/mts1b-console.pem".
# [services.console]
# command = "mts1b console serve"

# From time to time, as root. One that fails is told to whoever [monitoring] names (`mts1b monitor page`).
[timers.rotate]
command = "mts1b-deploy pki rotate --due"
when = "daily"
# Keys are in it when it is encrypted: --recipient FILE
[timers.backup]
command = "mts1b-deploy backup /var/backups/mts1b --keep 14 --all --also /etc/mts1b"
when = "02:30"
# What streams will have forgotten one day; `mts1b archive verify`, `mts1b archive find`. The monitor watches it with
# archive = "/var/lib/mts1b-archive" under [monitoring] in mts1b.toml.
[timers.archive]
command = "mts1b archive run /var/lib/mts1b-archive --audit /var/lib/mts1b-act"
when = "01:30"
[timers.archive-watch]
command = "mts1b archive status /var/lib/mts1b-archive"
when = "hourly"
[timers.doctor]
command = "mts1b-deploy doctor"
when = "hourly"
"""


def _split(value: object) -> object:
    return tuple(shlex.split(value)) if isinstance(value, str) else value


def _some(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        raise ValueError('a command is needed, such as "mts1b monitor run"')
    return value


class ServiceDefinition(BaseModel):
    """One service."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: tuple[str, ...]
    """Program and arguments; a program without a path is one of the environment's."""
    certificates: tuple[str, ...] = ()
    """Whose certificates it presents. None named: that of the repo ``mts1b-<name>``."""
    watchdog: Annotated[int, Field(ge=0)] = 60
    """Seconds without a sign of life of its event loop after which it is started anew; 0: never."""
    environment: dict[str, str] = Field(default_factory=dict[str, str])
    credentials: dict[str, Path] = Field(default_factory=dict[str, Path])
    """Secrets that systemd hands to it as files, by name (``LoadCredential=``)."""
    sealed: dict[str, Path] = Field(default_factory=dict[str, Path])
    """Secrets that lie encrypted for this host, by name: files of ``mts1b-deploy services seal``
    (``LoadCredentialEncrypted=``)."""
    database: str | None = None
    """Address of the database of PostgreSQL that holds its state, without a password: ``backup --all`` saves it."""
    owns: tuple[Path, ...] = ()
    """Directories that are made its own."""

    split = field_validator("command", mode="before")(_split)
    some = field_validator("command")(_some)

    @model_validator(mode="after")
    def _once(self) -> Self:
        if both := self.credentials.keys() & self.sealed.keys():
            raise ValueError(f"{', '.join(sorted(both))}: in credentials and in sealed; name each secret once")
        return self


class TimerDefinition(BaseModel):
    """Something that is done from time to time, as root."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: tuple[str, ...]
    when: str
    """When, as systemd writes it (systemd.time(7)): ``daily``, ``02:30``, ``Mon 04:00``."""

    split = field_validator("command", mode="before")(_split)
    some = field_validator("command")(_some)


class Services(BaseModel):
    """The services of a host."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    venv: Path = Path(sys.prefix)
    """The environment that holds their commands: that of the first release. ``release apply`` leads to another one."""
    services: dict[Annotated[str, Field(pattern=NAME)], ServiceDefinition] = Field(
        default_factory=dict[str, ServiceDefinition]
    )
    timers: dict[Annotated[str, Field(pattern=NAME)], TimerDefinition] = Field(
        default_factory=dict[str, TimerDefinition]
    )

    @classmethod
    def read(cls, path: Path, *, venv: Path | None = None) -> Self:
        """The services in the TOML file at ``path``; ``venv``: with the programs of that environment.

        Raises:
            ConfigFileError: it cannot be read, or says something that cannot be; the message names it.
        """
        try:
            document: dict[str, Any] = tomllib.loads(path.read_text())
            found = cls.model_validate(document if venv is None else {**document, "venv": venv})
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigFileError(f"{path} cannot be read: {error}. {_REMEDY}") from None
        except ValidationError as error:
            places = "; ".join(
                f"{'.'.join(map(str, each['loc']))}: {each['msg'].removeprefix('Value error, ')}"
                for each in error.errors()
            )
            raise ConfigFileError(f"{path}: {places}. {_REMEDY}") from None
        for name, each in (*found.services.items(), *found.timers.items()):
            found.program(name, each)
        if both := found.services.keys() & found.timers.keys():
            raise ConfigFileError(f"{path}: {', '.join(sorted(both))} is a service and a timer: rename one")
        return found

    def program(self, name: str, service: ServiceDefinition | TimerDefinition) -> Path:
        """The program of a service or a timer.

        Raises:
            ConfigFileError: it is not there.
        """
        first = Path(service.command[0])
        path = first if first.is_absolute() else self.venv / "bin" / first
        if not path.is_file():
            raise ConfigFileError(f"{name}: there is no program {path}: install its package into {self.venv}")
        return path


def user_of(name: str) -> str:
    """The system user of a service, which is the name of its unit as well."""
    return f"mts1b-{name}"


def certificates_of(name: str, service: ServiceDefinition) -> tuple[str, ...]:
    """Whose certificates a service presents."""
    return service.certificates or (user_of(name),)


def is_word(text: str) -> bool:
    """Whether ``text`` can stand in a unit file: one line, nothing that systemd would cut."""
    return re.fullmatch(r"[^\n\r\x00\"\\]*", text) is not None
