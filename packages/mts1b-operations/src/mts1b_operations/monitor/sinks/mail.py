"""Alerts by mail."""

import asyncio
import smtplib
import ssl
from collections.abc import Callable, Sequence
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Literal

from mts1b_operations.monitor.sinks.page import Page
from mts1b_operations.monitor.sinks.sink import SinkError

TIMEOUT = 10.0
"""Seconds that the mail server may take for each step."""

Security = Literal["starttls", "tls", "none"]


class Mail:
    """A mail server that takes messages for some addresses.

    Args:
        host: the mail server.
        port: of it.
        security: how the connection is encrypted; ``none`` for a server on this machine.
        sender: the address that messages come from.
        to: the addresses that they go to.
        user: as whom to log in; nobody without.
        password: reads the password.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        security: Security,
        sender: str,
        to: Sequence[str],
        user: str | None = None,
        password: Callable[[], str] | None = None,
    ) -> None:
        self._host, self._port, self._security = host, port, security
        self._sender, self._to = sender, tuple(to)
        self._user, self._password = user, password

    @property
    def name(self) -> str:
        """Where mail is handed in, and for whom."""
        return f"mail to {', '.join(self._to)} by {self._host}:{self._port}"

    async def send(self, page: Page, /) -> None:
        """Hand a message in; all addresses must be taken."""
        message = EmailMessage()
        message["Subject"] = f"[mts1b] {page.title}"
        message["From"], message["To"] = self._sender, ", ".join(self._to)
        message["Date"], message["Message-ID"] = formatdate(), make_msgid(domain="mts1b.invalid")
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(page.text)
        try:
            await asyncio.to_thread(self._hand_in, message)
        except (OSError, smtplib.SMTPException) as error:
            raise SinkError(f"{self.name}: {error}") from None

    def _hand_in(self, message: EmailMessage) -> None:
        context = ssl.create_default_context()
        if self._security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(self._host, self._port, timeout=TIMEOUT, context=context)
        else:
            server = smtplib.SMTP(self._host, self._port, timeout=TIMEOUT)
        with server:
            if self._security == "starttls":
                server.starttls(context=context)
            if self._user is not None and self._password is not None:
                server.login(self._user, self._password())
            if refused := server.send_message(message):
                raise smtplib.SMTPRecipientsRefused(refused)
