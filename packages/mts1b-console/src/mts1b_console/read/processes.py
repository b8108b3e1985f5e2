"""The processes on the bus and their certificates, as they say of themselves, and who has fallen silent."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from mts1b_console.person.person import Person
from mts1b_console.read.answer import answered, at, moment_of
from mts1b_console.read.follow import kept
from mts1b_console.shapes.state import Certificate, Handling, Process, Processes

REMEMBERED: Final = 600.0
"""Seconds for which a process that has fallen silent is named."""
_DAY: Final = 86_400.0
_SERVER: Final = "nats-server"


@dataclass(slots=True)
class _Heard:
    """Who has answered: when last, by the clock and in words, and what."""

    by_id: dict[str, tuple[float, str, Mapping[str, Any]]] = field(
        default_factory=dict[str, tuple[float, str, Mapping[str, Any]]]
    )

    def take(self, rows: Iterable[Mapping[str, Any]], read_at: str, clock: float) -> None:
        """Take a new look into account."""
        self.by_id |= {str(row["id"]): (clock, read_at, row) for row in rows}
        self.by_id = {name: each for name, each in self.by_id.items() if clock - each[0] <= REMEMBERED}


async def processes(person: Person) -> Processes:
    """Every process on the bus."""

    async def work() -> dict[str, Any]:
        person.refuse_look("services")
        found = await person.backing.look("services")
        heard, clock = kept(person, "processes", _Heard), time.monotonic()
        heard.take(found["processes"], found["read_at"], clock)
        rows = [_process(row, None if seen == clock else when) for seen, when, row in heard.by_id.values()]
        return {
            "read_at": found["read_at"],
            "processes": sorted(rows, key=lambda row: (row.service, row.command or "", row.member or "", row.id)),
            "certificates": _certificates(found["processes"], found["server_certificate_ends"]),
            "unreadable": found["unreadable"],
        }

    return await answered(person, Processes, work)


def _process(row: Mapping[str, Any], silent_since: str | None) -> Process:
    said: Mapping[str, str] = row["metadata"]
    return Process(
        service=row["service"],
        id=row["id"],
        member=said.get("member"),
        version=row["version"],
        host=said.get("host"),
        pid=said.get("pid"),
        command=said.get("command"),
        started=at(row["started"]),
        certificate_ends=at(row["certificate_ends"]),
        handles=[_handling(each) for each in row["endpoints"]],
        silent_since=at(silent_since),
    )


def _handling(row: Mapping[str, Any]) -> Handling:
    handled, errors, spent = row["handled"], row["errors"], row["nanoseconds"]
    each = spent / 1e9 / (handled - errors) if spent and handled > errors else None
    return Handling(name=row["name"], subject=row["subject"], handled=handled, errors=errors, seconds_each=each)


def _certificates(rows: Iterable[Mapping[str, Any]], server: str | None) -> list[Certificate]:
    """Each certificate once, the one that ends first at the front."""
    found = {(row["service"], row["metadata"].get("host"), row["certificate_ends"]) for row in rows}
    found.add((_SERVER, None, server))
    now = datetime.now(UTC)
    made = [
        Certificate(
            of=name,
            where=host,
            ends=moment_of(ends),
            days=round((datetime.fromisoformat(ends) - now).total_seconds() / _DAY, 2),
        )
        for name, host, ends in found
        if ends is not None
    ]
    return sorted(made, key=lambda each: (each.days, each.of, each.where or ""))
