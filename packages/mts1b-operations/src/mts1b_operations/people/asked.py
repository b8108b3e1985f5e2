"""One question of a person: who asks, what, for which fund. Pure.

::

    look.v1.<what>.all            look.v1.<what>.fund.<fund>
    act.v1.<noun>.<verb>.all      act.v1.<noun>.<verb>.fund.<fund>

The scope stands in the subject, where the server's permissions look; what stands in the payload is never asked who may.
Who asks is said by the server (``Nats-Request-Info``, on an import with ``share: true``), which replaces a header of
that name that a client sends along.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from mts1b_foundation.errors import Mts1bError
from mts1b_foundation.subjects import decode_token, encode_token

INFO: Final = "Nats-Request-Info"
ACCOUNT: Final = "HUMANS"
AT_WORK: Final = "at-work"
"""Code of a request that is being done: whoever asks again waits for its answer."""
MOST_BYTES: Final = 64 * 1024
"""Bytes of a question."""


class Declined(Mts1bError):
    """A question is not answered, or an action not taken.

    Attributes:
        code: what kind of reason, for programs.
        what_to_do: the remedy.
    """

    def __init__(self, code: str, message: str, what_to_do: str = "") -> None:
        super().__init__(f"{message}: {what_to_do}" if what_to_do else message)
        self.code = code
        self.message = message
        self.what_to_do = what_to_do


@dataclass(frozen=True, slots=True)
class Scope:
    """For which fund; None for all of them."""

    fund: str | None = None

    def __str__(self) -> str:
        return "all" if self.fund is None else f"fund.{encode_token(self.fund)}"

    @property
    def words(self) -> str:
        """For people."""
        return "every fund" if self.fund is None else f"fund {self.fund}"

    def covers(self, subject: str) -> bool:
        """Whether an event on ``subject`` is within it."""
        return self.fund is None or subject.endswith(f".fund.{encode_token(self.fund)}")


def scope_of(text: str) -> Scope:
    """The scope that ``str()`` wrote."""
    return Scope() if text == "all" else Scope(decode_token(text.removeprefix("fund.")))


@dataclass(frozen=True, slots=True)
class Asked:
    """One question."""

    by: str
    """The person, as the server names him."""
    address: str
    """Where he comes from."""
    what: str
    """Between prefix and scope: ``consumers``, ``halt.request``."""
    scope: Scope
    body: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def text(self, name: str, *, least: int = 0, most: int = 2000) -> str:
        """The text ``name`` of the question; empty when it is not there and ``least`` is 0.

        Raises:
            Declined: it is no text, or of another length.
        """
        value = self.body.get(name, "")
        if not isinstance(value, str) or not least <= len(value.strip()) <= most:
            raise Declined(
                "bad-request", f"{self.what} needs {name!r}, a text of {least} to {most} letters", f"give --{name}"
            )
        if any("\ud800" <= letter <= "\udfff" for letter in value):
            raise Declined("bad-request", f"{name!r} holds half a character, which cannot be stored", "write it again")
        return value.strip()

    def texts(self, name: str, *, most: int) -> tuple[str, ...]:
        """The list of texts ``name``; empty when it is not there.

        Raises:
            Declined: it is something else, or too long.
        """
        value = self.body.get(name, [])
        items: list[object] = cast("list[object]", value) if isinstance(value, list) else [None]
        if len(items) > most or not all(isinstance(each, str) and 0 < len(each) <= 400 for each in items):
            raise Declined("bad-request", f"{name!r} is a list of at most {most} texts", "ask in pages")
        return tuple(map(str, items))


def read_asked(prefix: str, subject: str, info: str | None, data: bytes) -> Asked:
    """The question in a message.

    Args:
        prefix: ``look.v1`` or ``act.v1``.
        subject: what it was asked on.
        info: the header ``Nats-Request-Info``.
        data: the payload.

    Raises:
        Declined: it does not come from a person, or cannot be understood.
    """
    by, address = _who(info)
    what, scope = _what(subject.removeprefix(f"{prefix}."))
    if len(data) > MOST_BYTES:
        raise Declined("too-large", f"a question has at most {MOST_BYTES} bytes, this one {len(data)}", "ask in pages")
    try:
        body: object = json.loads(data or b"{}")
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise Declined("bad-request", "the question is no JSON object")
    return Asked(by, address, what, scope, cast("dict[str, Any]", body))


def _who(info: str | None) -> tuple[str, str]:
    """Name and address that the server says."""
    try:
        said: dict[str, Any] = json.loads(info or "")
        account, name, host = said["acc"], said["user"], str(said.get("host", ""))
    except (ValueError, KeyError, TypeError):
        raise Declined("not-a-person", "the server did not say who asks, so nothing is answered") from None
    if account != ACCOUNT or not isinstance(name, str) or not name:
        raise Declined("not-a-person", f"only people of the account {ACCOUNT} are answered, not those of {account!r}")
    return name, host


def _what(rest: str) -> tuple[str, Scope]:
    tokens = rest.split(".")
    try:
        if len(tokens) > 1 and tokens[-1] == "all":
            return ".".join(tokens[:-1]), Scope()
        if len(tokens) > 2 and tokens[-2] == "fund":
            return ".".join(tokens[:-2]), Scope(decode_token(tokens[-1]))
    except Mts1bError as error:
        raise Declined("bad-request", str(error)) from None
    raise Declined("bad-request", f"{rest!r} does not end in .all or .fund.<fund>")
