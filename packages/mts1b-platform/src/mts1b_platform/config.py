"""Settings: the only place that reads the environment and files.

Each value comes from the first of: an argument, an environment variable (``MTS1B_…``), the configuration file, the
default. The file is the first of: ``config=``, ``$MTS1B_CONFIG``, ``./mts1b.toml``,
``$XDG_CONFIG_HOME/mts1b/mts1b.toml`` (``~/.config/mts1b/mts1b.toml``). ``mts1b-deploy install`` writes the last one,
so that ``connect()`` without arguments works afterwards.
"""

import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, cast, get_args
from urllib.parse import urlsplit

from mts1b_foundation.errors import Mts1bError
from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

Profile = Literal["minimal", "single", "edge", "production"]
"""How the bus is installed: a laptop without authentication, one secured node, one that a hub copies from, or a cluster
member."""

PROFILES: tuple[Profile, ...] = get_args(Profile)

DEFAULT_SERVER = "nats://127.0.0.1:4222"

_SCHEMES = ("nats", "tls", "ws", "wss")

_USER_INFO: Final = re.compile(r"//[^/@\s]*@")
"""Names and passwords in URLs, which no message shows."""


class ConfigError(Mts1bError):
    """A setting is missing, malformed or unknown; the message names it, where it was read, and the remedy."""


class Settings(BaseSettings):
    """What a process needs to know to speak on the bus."""

    model_config = SettingsConfigDict(env_prefix="MTS1B_", extra="forbid", frozen=True, populate_by_name=True)

    servers: Annotated[tuple[str, ...], NoDecode] = Field(
        (DEFAULT_SERVER,), validation_alias=AliasChoices("servers", "MTS1B_NATS_URL")
    )
    """NATS URLs, tried in turn. ``$MTS1B_NATS_URL`` holds them separated by commas."""
    people: Annotated[tuple[str, ...], NoDecode] = Field(
        (), validation_alias=AliasChoices("people", "MTS1B_NATS_PEOPLE")
    )
    """Where people connect (``wss://``). Dialled in place of ``servers`` from the file when there is a token."""
    monitor: str | None = Field(None, validation_alias=AliasChoices("monitor", "MTS1B_NATS_MONITOR"))
    """Base URL of the server's monitoring endpoint, for tools."""
    service: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")] | None = None
    """The repo this process speaks as, such as ``mts1b-oms``. Publishing needs it, consuming does not."""
    actor: Annotated[str, Field(pattern=r"^[!-~]+$")] | None = None
    """Who acts, for the header ``mts-actor``, when the payload does not say. Default: the service."""
    profile: Profile = "minimal"
    """How the bus is installed: a laptop without authentication, one secured node, or a cluster."""
    connect_timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 3.0
    """Seconds until the first connection must stand."""

    tls_dir: Path | None = None
    """Directory with ``ca.crt`` and one ``<service>.pem`` (key and certificate) per service, as `mts1b-deploy pki`
    makes it: one setting for every service of a host. The three below win over it."""
    tls_ca: Path | None = None
    """Whom to trust: the authorities that sign servers, PEM. None: ``tls_dir``, else those of the system."""
    tls_cert: Path | None = None
    """This process's certificate, PEM; it says who the process is."""
    tls_key: Path | None = None
    """Its key, PEM. None: in the same file as the certificate."""
    token: Annotated[SecretStr, Field(min_length=1)] | None = None
    """A person's token (JWT). Services have certificates instead."""
    token_file: Path | None = None
    """File that holds a person's token, as `mts1b login` writes it; read anew whenever a connection is made."""

    edge: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")] | None = None
    """The edge that this process publishes at: message ids begin with it, so that the hub does not take events of two
    edges for the same one. `mts1b-deploy install --profile edge` writes it."""

    checkouts: Annotated[tuple[Path, ...], NoDecode] = ()
    """Checkouts whose subjects, streams and durables count as declared beside those of installed packages, for commands
    and the monitor; `mts1b-deploy install --checkout` writes them. ``$MTS1B_CHECKOUTS`` separates them by commas."""

    stop_file: Path | None = None
    """While this file is there, adapters of brokers on this host trade nothing, whether the bus lives or not;
    `mts1b halt here` writes it. None: only a signal stops them so."""

    metrics_port: Annotated[int, Field(ge=0, le=65_535)] | None = None
    """Port of ``/metrics``, ``/healthz`` and ``/readyz`` of this process. 0: any free one. None: no endpoint."""
    metrics_host: str = "127.0.0.1"
    """Address that the endpoint listens on."""
    metrics_dir: Path | None = None
    """Directory in which each endpoint announces itself, for Prometheus' file discovery."""
    audit_dir: Path | None = None
    """Directory of the audit log. None: no audit log."""
    audit_max_bytes: Annotated[int, Field(ge=1_000)] = 100_000_000
    """Size at which a file of the audit log is closed and the next one begun."""
    index_file: Path | None = None
    """The index of events that `mts1b index run` keeps, and `mts1b order` finds by. None: they search the streams."""
    trace_ratio: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of traces that are recorded; the same traces in every service that has the same share."""
    otlp_endpoint: str | None = None
    """URL that spans are sent to (OTLP over HTTP), such as ``http://127.0.0.1:4318/v1/traces``. None: nowhere."""

    @property
    def watched(self) -> bool:
        """Whether every bus shall be watched from its connecting on: for the audit log, or for traces."""
        return self.audit_dir is not None or self.otlp_endpoint is not None

    @property
    def is_person(self) -> bool:
        """Whether this process comes with a person's token."""
        return self.token is not None or self.token_file is not None

    @field_validator("servers", "people", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",") if part.strip()]
        if isinstance(value, list):
            return tuple(cast("list[object]", value))
        if not isinstance(value, tuple):
            raise ValueError("give NATS URLs as text, such as nats://127.0.0.1:4222")
        return cast("tuple[object, ...]", value)

    @field_validator("checkouts", mode="before")
    @classmethod
    def _split_checkouts(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return tuple(cast("list[object]", value)) if isinstance(value, list) else value

    @field_validator("servers")
    @classmethod
    def _some(cls, servers: tuple[str, ...]) -> tuple[str, ...]:
        if not servers:
            raise ValueError("at least one NATS URL is needed, such as nats://127.0.0.1:4222")
        return servers

    @field_validator("servers", "people")
    @classmethod
    def _urls(cls, servers: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_url(server) for server in servers)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic-settings'
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then environment; the file's values come in as defaults through :meth:`load`."""
        return (init_settings, env_settings)

    @classmethod
    def load(cls, config: str | Path | None = None, **arguments: Any) -> Self:
        """The settings of this process. ``arguments`` that are None count as not given.

        Raises:
            ConfigError: when a value is malformed, or the file cannot be read.
        """
        path = find_config(config)
        from_file = _read(path) if path else {}
        given = {name: value for name, value in arguments.items() if value is not None}
        try:
            environment = cls(**given).model_dump(exclude_unset=True)
            merged = cls(**{**from_file, **environment, **given})
        except ValidationError as error:
            raise ConfigError(_explain(error, path)) from None
        if merged.is_person and merged.people and "servers" not in environment:
            return merged.model_copy(update={"servers": merged.people})
        return merged


def user_config() -> Path:
    """Where ``mts1b-deploy install`` writes the settings of this user."""
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "mts1b" / "mts1b.toml"


def find_config(config: str | Path | None = None) -> Path | None:
    """The configuration file that applies, or None when there is none.

    Raises:
        ConfigError: when a file that was named does not exist.
    """
    named = config or os.environ.get("MTS1B_CONFIG")
    if named:
        path = Path(named).expanduser()
        if not path.is_file():
            origin = "config=" if config else "$MTS1B_CONFIG"
            raise ConfigError(f"no configuration file at {path} ({origin}): create it or name another")
        return path
    return next((path for path in (Path("mts1b.toml"), user_config()) if path.is_file()), None)


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no valid TOML: {error}") from error
    for others in ("monitoring", "console"):  # tables of the monitor and the console, which read them themselves
        data.pop(others, None)
    nats = data.pop("nats", {})
    if not isinstance(nats, dict):
        raise ConfigError(f"{path}: [nats] is a table with servers and monitor, not {nats!r}")
    return {**data, **nats}


def _url(server: str) -> str:
    url = server if "://" in server else f"nats://{server}"
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES or not parts.hostname:
        raise ValueError(f"{server!r} is no NATS URL: write nats://host:port")
    try:
        known = parts.port is None or parts.port > 0
    except ValueError:
        known = False
    if not known:
        raise ValueError(f"{server!r} has no TCP port: choose one from 1 to 65535")
    return url


def _explain(error: ValidationError, path: Path | None) -> str:
    lines: list[str] = []
    for detail in error.errors():
        name = ".".join(str(part) for part in detail["loc"])
        if detail["type"] == "extra_forbidden":
            known = ", ".join(Settings.model_fields)
            lines.append(f"unknown setting {name!r} (known: {known})")
        else:
            given = "" if name == "token" else f" (got {detail['input']!r})"
            lines.append(f"setting {name!r} is wrong: {detail['msg'].removeprefix('Value error, ')}{given}")
    where = f" (arguments, environment MTS1B_…, {path})" if path else " (arguments, environment MTS1B_…)"
    return _USER_INFO.sub("//…@", "; ".join(lines)) + where
