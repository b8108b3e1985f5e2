"""Readers with several instances: who is handed the messages of each durable."""

from collections.abc import Mapping
from typing import Any

from mts1b_console.person.person import Person
from mts1b_console.read.answer import answered, at
from mts1b_console.shapes.state import Groups, Office


async def groups(person: Person) -> Groups:
    """Every durable for several instances."""

    async def work() -> dict[str, Any]:
        person.refuse_look("consumers.groups")
        found = await person.backing.look("consumers.groups")
        rows = [_office(row) for row in found["groups"]]
        return {
            "read_at": found["read_at"],
            "groups": sorted(rows, key=lambda row: (row.stream, row.group, row.key or "")),
        }

    return await answered(person, Groups, work)


def _office(row: Mapping[str, Any]) -> Office:
    lag = row["lag"]
    return Office(
        stream=row["stream"],
        group=row["group"],
        durable=row["durable"],
        key=row["key"] or None,
        active=row["active"] if row["pinned"] else None,
        last_active=row["active"],
        since=at(row["since"]) if row["since"] else None,
        term=row["term"] or None,
        takeover_seconds=row["takeover"],
        lag_seconds=round(lag["seconds"], 3),
        messages=lag["messages"],
        pulls=lag["waiting"],
    )
