"""Why something did not come, and what to do about it: from what the server says of who owes it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from mts1b_foundation.deadletters import DeadLetter

from mts1b_operations.history.seen import Seen
from mts1b_operations.story.expected import Owed
from mts1b_operations.story.readers import Reader, State

_HOPELESS: Final = ("gave_up", "no_reader", "nobody_reads", "paused")
_SOON: Final = 1.0


@dataclass(frozen=True, slots=True)
class Missing:
    """What did not come, who owes it, why, and what to do."""

    owed: Owed
    waiting: float
    """Seconds since the event that it should follow."""
    usual: float | None
    """Seconds that it usually takes: the median of the last ones; None when there are too few."""
    kind: str
    """``gave_up``, ``no_reader``, ``nobody_reads``, ``paused``, ``behind``, ``under_way``, ``nothing_came`` or
    ``unknown``."""
    durable: str
    why: str
    do: tuple[str, ...]
    lag: float | None = None
    """Seconds: the age of the oldest event that the durable has not settled; None when nobody says."""

    @property
    def late(self) -> bool:
        """Whether it takes longer than it should: ten times as long as usual, or longer than the flow says.

        When nobody is there to do it, there is no use in waiting so long.
        """
        if self.kind in _HOPELESS:
            return self.waiting > min(_SOON, self.owed.step.within)
        return self.waiting > (self.owed.step.within if self.usual is None else max(self.usual * 10, 0.1))

    def to_json(self) -> dict[str, Any]:
        """It as a JSON document."""
        return {
            "after": self.owed.after.place,
            "expects": [subject.pattern for subject in self.owed.step.expects],
            "words": self.owed.step.words,
            "by": self.owed.by,
            "waiting_seconds": round(self.waiting, 3),
            "usual_seconds": None if self.usual is None else round(self.usual, 4),
            "late": self.late,
            "kind": self.kind,
            "durable": self.durable or None,
            "lag_seconds": None if self.lag is None else round(self.lag, 3),
            "why": self.why,
            "do": list(self.do),
        }


def explain(
    owed: Owed,
    *,
    readers: Sequence[Reader] | None,
    letters: Sequence[Seen],
    now_ns: int,
    usual: float | None,
) -> Missing | None:
    """Why a step did not follow; None when nothing is owed, because it may rightly not follow and was handled.

    Args:
        owed: the step.
        readers: the durables that read the event before it; None when this identity may not ask.
        letters: dead letters in the story.
        now_ns: the present.
        usual: how long it usually takes, in seconds.
    """
    after = owed.after
    mine = [reader for reader in readers or () if reader.service == owed.by]
    payload = after.payload
    certain = payload is not None and owed.step.certain(payload)

    def missing(kind: str, durable: str, why: str, *do: str) -> Missing:
        lag = next((reader.lag_seconds for reader in mine if reader.durable == durable), None)
        return Missing(owed, owed.waiting(now_ns), usual, kind, durable, why, do, lag)

    if (letter := _letter(owed, letters, mine)) is not None:
        return missing(
            "gave_up",
            letter.consumer,
            f"{letter.consumer} gave the event up after {letter.deliveries} deliveries: {_first(letter.error)}",
            f"mts1b deadletters show {letter.dead_letter_id}",
            f"when the cause is gone: mts1b deadletters requeue {letter.dead_letter_id}",
        )
    if readers is None:
        if not certain:
            return None
        return missing("unknown", "", "this identity may not ask the server for its consumers", f"look at {owed.by}")
    if not mine:
        if not certain and owed.step.tie != "signal_id":
            return None
        others = f" ({len(readers)} others do)" if readers else ""
        return missing(
            "no_reader",
            "",
            f"no durable of {owed.by} reads {after.registered.pattern if after.registered else after.subject}{others}",
            f"start {owed.by}",
            f"mts1b consumers ls --stream {after.recorded.stream}",
        )
    reader = min(mine, key=lambda each: list(_URGENCY).index(each.state))
    look = f"mts1b lag --stream {reader.stream}"
    resume = f"mts1b consumers resume {reader.stream} {reader.durable}"
    position = f"{reader.durable} has reached {reader.reached:,}, the event is {after.recorded.seq:,}"
    if reader.state is State.WAITING:
        if reader.paused:
            return missing("paused", reader.durable, f"{position}; it is paused", resume, look)
        if not reader.pulls:
            since = (
                f" since {reader.last_active:%H:%M:%S}Z"
                if reader.last_active
                else ", nor has since the server was started"
            )
            return missing(
                "nobody_reads",
                reader.durable,
                f"{position}; nobody reads it{since}",
                f"start {owed.by}, or see why it hangs",
                look,
            )
        return missing(
            "behind",
            reader.durable,
            f"{position}, {reader.behind:,} behind; it is being read",
            f"wait, or watch: {look}",
        )
    if reader.state is State.UNDER_WAY:
        again = f", {reader.redelivered} of them more than once" if reader.redelivered else ""
        does = (
            "it is connected, so it works, hangs, or fails and tries again" if reader.pulls else "nobody reads it now"
        )
        return missing(
            "under_way",
            reader.durable,
            f"{reader.durable} was given the event; not settled are {reader.unsettled:,}{again}; {does}",
            f"see the log of {owed.by} for trace {after.trace_id}" if reader.pulls else f"start {owed.by}",
            look,
        )
    if not certain or reader.state is State.BEFORE:
        return None
    return missing(
        "nothing_came",
        reader.durable,
        f"{owed.by} has handled the event, and nothing followed",
        f"see the log of {owed.by} for trace {after.trace_id}",
        f"mts1b audit search --trace-id {after.trace_id}",
    )


_URGENCY = (State.WAITING, State.UNDER_WAY, State.HANDLED, State.GAVE_UP, State.BEFORE)


def _letter(owed: Owed, letters: Sequence[Seen], mine: Sequence[Reader]) -> DeadLetter | None:
    """The dead letter in which the one who owes the step gave up the event before it."""
    for seen in letters:
        letter = seen.payload
        if (
            isinstance(letter, DeadLetter)
            and (letter.stream, letter.sequence) == (owed.after.recorded.stream, owed.after.recorded.seq)
            and (seen.by == owed.by or letter.consumer in {reader.durable for reader in mine})
        ):
            return letter
    return None


def _first(text: str) -> str:
    return text.splitlines()[0] if text else "no error was given"
