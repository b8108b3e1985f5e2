"""The algebra of NATS patterns: what matches, what overlaps, what lies inside what.

``*`` stands for exactly one token, ``>`` for one or more and only at the end. A pattern is the set of concrete
subjects that it matches; as tokens are drawn from an endless alphabet, the questions below have exact answers
that look at tokens only, never at examples.
"""

from collections.abc import Collection
from typing import Final

ANY: Final = "*"
REST: Final = ">"


def is_pattern(text: str) -> bool:
    """Whether ``text`` is a legal pattern: no empty token, wildcards as whole tokens, ``>`` only at the end."""
    tokens = text.split(".")
    return REST not in tokens[:-1] and all(map(_is_token, tokens))


def _is_token(token: str) -> bool:
    if not token or any(character.isspace() for character in token):
        return False
    return token in (ANY, REST) or not set(token) & {ANY, REST}


def matches(pattern: str, subject: str) -> bool:
    """Whether the concrete ``subject`` is matched by ``pattern``."""
    return contains(pattern, subject)


def overlaps(one: str, other: str) -> bool:
    """Whether some concrete subject is matched by both patterns."""
    mine, theirs = one.split("."), other.split(".")
    for left, right in zip(mine, theirs, strict=False):
        if REST in (left, right):
            return True
        if left != right and ANY not in (left, right):
            return False
    return len(mine) == len(theirs)


def contains(outer: str, inner: str) -> bool:
    """Whether every concrete subject that ``inner`` matches is matched by ``outer`` too."""
    wide, narrow = outer.split("."), inner.split(".")
    for position, token in enumerate(wide):
        if position == len(narrow):
            return False
        if token == REST:
            return True
        if narrow[position] == REST or (token not in (ANY, narrow[position])):
            return False
    return len(wide) == len(narrow)


def common(one: str, other: str) -> str:
    """The pattern of what both match; they overlap."""
    mine, theirs = one.split("."), other.split(".")
    found: list[str] = []
    for at, (left, right) in enumerate(zip(mine, theirs, strict=False)):
        if REST in (left, right):
            found += theirs[at:] if left == REST else mine[at:]
            break
        found.append(right if left == ANY else left)
    return ".".join(found)


def covers(outers: Collection[str], inner: str) -> bool:
    """Whether every concrete subject that ``inner`` matches is matched by one of ``outers``.

    A pattern of fixed length is covered by a union only when one member contains it: put tokens that nobody wrote
    in the place of its wildcards, and whatever matches that has wildcards there. ``>`` is settled length by
    length; beyond the longest member only members that end in ``>`` match, so one length more decides the rest.
    """
    if any(contains(outer, inner) for outer in outers):
        return True
    *stem, last = inner.split(".")
    if last != REST or not outers:
        return False
    longest = max(outer.count(".") + 1 for outer in outers)
    lengths = range(1, max(longest - len(stem), 0) + 2)
    return all(any(contains(outer, ".".join([*stem, *[ANY] * length])) for outer in outers) for length in lengths)
