"""Records of the audit logs that lie where looks are answered."""

from collections.abc import Mapping
from typing import Any

from mts1b_operations.people.asking import ALL

from mts1b_console.person.person import Person
from mts1b_console.read.answer import answered
from mts1b_console.shapes.state import AuditFound


async def audit(person: Person, wanted: Mapping[str, str]) -> AuditFound:
    """The records whose fields have the values that are ``wanted``."""

    async def work() -> dict[str, Any]:
        found = await person.backing.look("audit", ALL, **wanted)
        return {"read_at": found["read_at"], "records": found["records"], "complete": found["complete"]}

    return await answered(person, AuditFound, work)
