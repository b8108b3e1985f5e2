"""Settings of the console: the table ``[console]`` of ``mts1b.toml``."""

import tomllib
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Self

from mts1b_foundation.errors import Mts1bError
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator


class ConsoleConfigError(Mts1bError):
    """The console's configuration is wrong; the message names the place."""


class ConsoleSettings(BaseModel):
    """How the console listens, and what it calls itself.

    ::

        [console]
        listen = "127.0.0.1:8090"
        names = ["console.desk.example"]
        tls_pem = "/etc/mts1b/tls/mts1b-console.pem"
        environment = "production"
        color = "crimson"
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    listen: Annotated[str, Field(pattern=r"^[^/\s]+:\d{1,5}$")] = "127.0.0.1:8090"
    """Address and port."""
    names: tuple[Annotated[str, Field(pattern=r"^[a-z0-9.:\[\]-]+$")], ...] = ()
    """Further host names (``console.desk.example``, with the port when it is not that of ``listen``) that are taken."""
    tls_pem: Path | None = None
    """Certificate and key, PEM. Without it the console listens on loopback only."""
    bus: str | None = None
    """Where people connect (``wss://``); otherwise ``people`` of the settings."""
    environment: Annotated[str, Field(min_length=1, max_length=40)] = "development"
    """Stands in the header of every page."""
    color: Annotated[str, Field(pattern=r"^(#[0-9a-f]{6}|[a-z]{3,20})$")] = "steelblue"
    """Color of that header: a CSS color name, or ``#rrggbb``."""
    read_only: bool = False
    """Whether nothing may be done from the console, whatever the role."""
    obeying: tuple[str, ...] = ("mts1b-oms",)
    """Services that confirm a halt."""

    @field_validator("listen")
    @classmethod
    def _port(cls, listen: str) -> str:
        if int(listen.rpartition(":")[2]) > 65_535:
            raise ValueError("the port is above 65535")
        return listen

    @property
    def host(self) -> str:
        """The address that is listened on."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port that is listened on; 0: any free one."""
        return int(self.listen.rpartition(":")[2])

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @classmethod
    def read(cls, path: Path | None, **given: object) -> Self:
        """The settings in the table ``[console]`` of ``path``; what is ``given`` and not None wins.

        Raises:
            ConsoleConfigError: the file cannot be read, or a setting is wrong.
        """
        try:
            table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8")).get("console", {}) if path else {}
            return cls.model_validate({**table, **{name: value for name, value in given.items() if value is not None}})
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConsoleConfigError(f"{path} cannot be read: {error}") from error
        except ValidationError as error:
            problems = "; ".join(f"console.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise ConsoleConfigError(f"{path or 'settings'}: {problems}") from None
