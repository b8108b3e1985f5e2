"""What people may have noted about dead letters."""

from collections.abc import Mapping
from typing import Any

from mts1b_platform.eventbus import EventBus
from mts1b_platform.observability.audit import AuditError

from mts1b_operations.deadletters.ends import DeadLetterError
from mts1b_operations.deadletters.notes import letters_about, name_of, note
from mts1b_operations.people.action import Preview, id_of
from mts1b_operations.people.asked import Asked, Declined


class NoteLetters:
    """Write down what is known about a dead letter or a group of them, for everybody who sees these."""

    adds_risk = False

    async def preview(self, bus: EventBus, asked: Asked) -> Preview:
        """What the note is about."""
        about, text = asked.text("about", least=1, most=200), asked.text("note")
        try:
            found = await letters_about(bus, about)
        except DeadLetterError as error:
            raise Declined("not-found", str(error)) from None
        if not all(asked.scope.covers(letter.letter.subject) for letter in found):
            raise Declined(
                "not-found",
                f"{about!r} is no letter, and no group of letters, of {asked.scope.words} alone",
                "look again",
            )
        name = name_of(found, about)
        what = f"dead letter {name}" if name == found[0].id else f"the {len(found)} dead letters of group {name}"
        words = f"writes a note on {what}" if text else f"takes the note on {what} away"
        return Preview(words, {"about": name, "note": text})

    async def do(
        self,
        bus: EventBus,
        asked: Asked,
        facts: Mapping[str, Any],
        *,
        request_id: str,
        again: bool,  # noqa: ARG002 - the same id twice is one note
    ) -> Mapping[str, Any]:
        """Store it."""
        try:
            said = await note(
                bus,
                str(facts["about"]),
                text=str(facts["note"]),
                actor=asked.by,
                note_id=id_of("note", asked.by, request_id),
                request_id=request_id,
                address=asked.address,
            )
        except (DeadLetterError, AuditError) as error:
            raise Declined("refused", str(error)) from None
        return {"note": said.model_dump(mode="json")}
