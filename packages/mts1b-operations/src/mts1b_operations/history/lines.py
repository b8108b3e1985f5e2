"""Events in lines for a terminal: time, subject, what it says, where it lies. Pure."""

from collections.abc import Iterator

from mts1b_operations.history.seen import Seen

_SUBJECT = 27
_PLACE = 20
_ELLIPSIS = "…"


class Lines:
    """Lines under a heading that names the day whenever it changes.

    Args:
        width: columns of the terminal; None: lines are not cut.
    """

    def __init__(self, width: int | None) -> None:
        self._width = width
        self._day = ""

    def of(self, seen: Seen) -> Iterator[str]:
        """The line of an event, after one for its day when that is another than before."""
        day, _, clock = seen.recorded.stamp.partition("T")
        if day != self._day:
            self._day = day
            yield f"{day} (UTC)"
        head = f"{clock[:12].ljust(12)} {'!' if seen.refused else ' '} {clean(short(seen.subject)).ljust(_SUBJECT)} "
        place = seen.place.rjust(_PLACE) if seen.place else ""
        if self._width is None:
            yield f"{head} {clean(seen.summary)}{'  ' + seen.place if seen.place else ''}"
            return
        room = max(10, self._width - len(head) - len(place) - 2)
        said = clean(seen.summary)
        if seen.refused is not None and len(said) > room:  # the reason is what the line is there for: it is not cut
            yield f"{head} {'REFUSED'.ljust(room)} {place}".rstrip()
            yield f"{' ' * 15}{said}"
            return
        yield f"{head} {cut(said, room).ljust(room)} {place}".rstrip()


def short(subject: str) -> str:
    """A subject without what goes without saying: mts, version 1, the fund at its end."""
    tokens = subject.split(".")
    if len(tokens) == 7 and tokens[5] == "fund":
        tokens = tokens[:5]
    return ".".join(tokens).removeprefix("mts.v1.")


def cut(text: str, width: int) -> str:
    """``text`` in at most ``width`` columns."""
    return text if len(text) <= width else text[: width - 1] + _ELLIPSIS


def clean(text: str, *, keep: str = "") -> str:
    """``text`` without what moves a cursor or changes a terminal: such characters are written as escapes."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in keep else each.encode("unicode_escape").decode() for each in text
    )
