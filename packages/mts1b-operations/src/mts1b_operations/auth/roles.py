"""Roles: what people may read, look up and have done. A connection by token may publish no event, whatever its role.

Live events are limited to the role's subjects. History is read from the streams themselves, and a stream is opened
only to a role that may read all of it: what is asked of a stream stands in the request, where no permission can look.

What a person looks up (``look.v1.…``) and has done (``act.v1.…``) is a question to a responder. Its subject says what,
and for which fund, so that the server itself confines a role to its fund.
"""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, cast

from mts1b_foundation.errors import Mts1bError
from mts1b_foundation.subjects.algebra import covers, is_pattern
from mts1b_platform.config import Settings
from mts1b_platform.eventbus import StreamDefinition
from mts1b_platform.eventbus.declared import declared


class RoleError(Mts1bError):
    """A role does not exist, or is not declared as one."""


@dataclass(frozen=True, slots=True)
class Role:
    """What a person may read."""

    name: str
    subjects: tuple[str, ...]
    """NATS patterns below ``mts.``."""
    description: str = ""
    looks: tuple[str, ...] = ()
    """What it may look up: patterns below ``look.v1.``, such as ``halts.fund.alpha`` or ``consumers.all``."""
    acts: tuple[str, ...] = ()
    """What it may have done: patterns below ``act.v1.``, such as ``halt.request.fund.alpha`` or ``halt.>``."""

    @property
    def streams(self) -> tuple[str, ...]:
        """Streams whose history is open to it."""
        return streams_of(self.subjects)


def streams_of(subjects: Iterable[str]) -> tuple[str, ...]:
    """Streams that hold nothing but what ``subjects`` match."""
    granted = list(subjects)
    return tuple(each.name for each in _streams() if all(covers(granted, stored) for stored in each.subjects))


@cache
def _streams() -> tuple[StreamDefinition, ...]:
    return declared(Settings.load().checkouts).streams


_MARKET: Final = "mts.*.marketdata.>"

ROLES: Final[Mapping[str, Role]] = MappingProxyType(
    {
        role.name: role
        for role in (
            Role("market", (_MARKET,), "quotes, bars and the ends of sessions"),
            Role(
                "trader",
                (
                    _MARKET,
                    "mts.*.research.>",
                    "mts.*.oms.>",
                    "mts.*.brokers.>",
                    "mts.*.risk.>",
                    "mts.*.operations.halt.>",
                ),
                "the way of an order from the signal to the fill, and halts",
                looks=("halts.>", "find.>"),
                acts=("halt.request.>",),
            ),
            Role(
                "risk",
                ("mts.*.risk.>", "mts.*.oms.>", "mts.*.treasury.>", "mts.*.operations.>"),
                "limits, orders, values, halts and alerts",
                looks=("halts.>", "find.>", "survey.>", "consumers.>", "services.>"),
                acts=("halt.>",),
            ),
            Role(
                "operator",
                (
                    "mts.*.operations.>",
                    "mts.*.*.deadletters.>",
                    "mts.*.research.>",
                    "mts.*.risk.>",
                    "mts.*.oms.>",
                    "mts.*.brokers.>",
                ),
                "alerts, halts and who obeyed them, dead letters, the way of an order",
                looks=("halts.>", "find.>", "survey.>", "consumers.>", "services.>", "deadletters.>", "alerts.>"),
                acts=("halt.>", "deadletters.>", "alerts.>"),
            ),
            Role("auditor", ("mts.>",), "everything", looks=(">",)),
        )
    }
)
"""The built-in roles."""


def load_roles(path: Path | None) -> Mapping[str, Role]:
    """The roles of a file, beside those of :data:`ROLES`; one of the same name takes the place.

    ::

        [roles.desk-alpha]
        subjects = ["mts.v1.oms.orders.*.fund.alpha", "mts.v1.oms.fills.*.fund.alpha"]
        looks = ["halts.fund.alpha"]
        acts = ["halt.request.fund.alpha"]
        description = "what happens in fund alpha, and stopping it"

    Raises:
        RoleError: the file cannot be read, or a role in it is none.
    """
    if path is None:
        return ROLES
    try:
        declared = tomllib.loads(path.read_text()).get("roles", {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RoleError(f"{path} cannot be read as roles: {error}") from None
    return {**ROLES, **{name: _role(path, name, facts) for name, facts in declared.items()}}


def _role(path: Path, name: str, facts: Any) -> Role:
    given: Mapping[str, Any] = cast("dict[str, Any]", facts) if isinstance(facts, dict) else dict[str, Any]()
    if unknown := sorted(set(given) - {"subjects", "looks", "acts", "description"}):
        raise RoleError(
            f"{path}: [roles.{name}] has {', '.join(unknown)}; known are subjects, looks, acts, description"
        )
    subjects = _patterns(path, name, given, "subjects", below="")
    if not subjects:
        raise RoleError(f"{path}: [roles.{name}] needs subjects, a list of patterns such as mts.v1.oms.>")
    return Role(
        name,
        subjects,
        str(given.get("description", "")),
        looks=_patterns(path, name, given, "looks", below="look.v1."),
        acts=_patterns(path, name, given, "acts", below="act.v1."),
    )


def _patterns(path: Path, name: str, facts: Mapping[str, Any], key: str, *, below: str) -> tuple[str, ...]:
    listed = facts.get(key, [])
    if not isinstance(listed, list):
        raise RoleError(f"{path}: [roles.{name}] {key} = {listed!r} should be a list of patterns")
    patterns = tuple(map(str, cast("list[object]", listed)))
    for pattern in patterns:
        if not is_pattern(below + pattern) or not (below + pattern).startswith(below or "mts."):
            raise RoleError(f"{path}: [roles.{name}] has {pattern!r}, which is no pattern below {below or 'mts.'}")
    return patterns
