"""Whom to page, as ``mts1b.toml`` says it: the tables ``[[monitoring.pagers]]``.

Secrets stand in files that the tables name, never in the tables: a relative name is looked for in
``$CREDENTIALS_DIRECTORY``, where systemd puts what a unit loads by ``LoadCredential=``.
"""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from mts1b_foundation.operations import AlertSeverity
from pydantic import BaseModel, ConfigDict, Field

from mts1b_operations.monitor.sinks.mail import Mail, Security
from mts1b_operations.monitor.sinks.ntfy import Ntfy
from mts1b_operations.monitor.sinks.pager import Channel
from mts1b_operations.monitor.sinks.sink import SinkError
from mts1b_operations.monitor.sinks.template import Format, Template

_PORTS: dict[Security, int] = {"starttls": 587, "tls": 465, "none": 25}


class _PagerSettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    minimum: AlertSeverity = AlertSeverity.WARNING
    """The least severity that is told."""
    repeat: Annotated[float, Field(ge=0)] = 300.0
    """Seconds after which a critical alert that nobody has acknowledged is told again; 0: never."""


class NtfyPager(_PagerSettings):
    """A topic of ntfy."""

    kind: Literal["ntfy"]
    """Which pager this is."""
    url: str
    """Of the topic, such as ``https://ntfy.sh/my-desk``."""
    token_file: Path | None = None
    """File that holds the token of the topic, if it wants one."""

    def channel(self) -> Channel:
        """The way that these settings describe."""
        return Ntfy(self.url, reading(self.token_file) if self.token_file else None)


class MailPager(_PagerSettings):
    """Mail."""

    kind: Literal["mail"]
    """Which pager this is."""
    host: str
    """The mail server."""
    port: int | None = None
    """None: what is usual for ``security``: 587, 465, 25."""
    security: Security = "starttls"
    """How the connection is secured."""
    sender: str
    """The address that mails come from."""
    to: Annotated[tuple[str, ...], Field(min_length=1)]
    """The addresses that mails go to."""
    user: str | None = None
    """Who signs in at the mail server. None: nobody does."""
    password_file: Path | None = None
    """File that holds the password."""

    def channel(self) -> Channel:
        """The way that these settings describe."""
        return Mail(
            host=self.host,
            port=self.port or _PORTS[self.security],
            security=self.security,
            sender=self.sender,
            to=self.to,
            user=self.user,
            password=reading(self.password_file) if self.password_file else None,
        )


class WebhookPager(_PagerSettings):
    """A request by a template: Pushover, Telegram and whoever else takes one."""

    kind: Literal["webhook"]
    """Which pager this is."""
    url: str
    """Where the request goes."""
    body: dict[str, Any]
    """What it says, with the fields of the alert in braces."""
    format: Format = "json"
    """How the body is written."""
    headers: dict[str, str] = Field(default_factory=dict[str, str])
    """Headers of the request."""
    secret_files: dict[str, Path] = Field(default_factory=dict[str, Path])
    """By the name that the template uses, the file of a secret."""
    choices: dict[str, dict[str, str]] = Field(default_factory=dict[str, dict[str, str]])
    """By word, other texts for its values."""

    def channel(self) -> Channel:
        """The way that these settings describe."""
        return Template(
            self.url,
            body=self.body,
            form=self.format,
            headers=self.headers,
            secrets={name: reading(path) for name, path in self.secret_files.items()},
            choices=self.choices,
        )


PagerSettings = Annotated[NtfyPager | MailPager | WebhookPager, Field(discriminator="kind")]


def reading(path: Path) -> Callable[[], str]:
    """A function that reads the secret in ``path``, anew each time: it may be renewed."""
    return partial(_read, path)


def _read(path: Path) -> str:
    place = Path(os.environ.get("CREDENTIALS_DIRECTORY") or ".") / path
    try:
        return place.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SinkError(f"the secret in {place} cannot be read: {error}") from None
