"""Sorting what a reader takes over: what another one gave back comes first, and in the stream's order.

The server redelivers in the order in which messages came back to it, behind what it was still about to redeliver. No
order of giving back is therefore enough; the reader that comes next holds what arrives until everything that was under
way is here, and sorts it.
"""

from mts1b_platform.eventbus.jetstream.consumer_state import ConsumerState
from mts1b_platform.eventbus.protocol.message import RawMsg
from mts1b_platform.eventbus.protocol.position import NotJetStream, Position

_LAST = (1 << 63, 0)


class StartHold:
    """What arrives at the start of a reader, until all that was under way before has come.

    Args:
        state: of the durable, before anything was pulled.
    """

    def __init__(self, state: ConsumerState) -> None:
        self._missing = state.pending
        self._delivered = state.delivered
        self._messages: list[RawMsg] = []

    def __len__(self) -> int:
        """How many are held."""
        return len(self._messages)

    @property
    def complete(self) -> bool:
        """Whether nothing is missing any more."""
        return self._missing <= 0

    def add(self, batch: list[RawMsg]) -> None:
        """Hold what one read has brought."""
        self._messages += batch
        self._missing -= sum(_key(msg)[0] <= self._delivered for msg in batch)

    def release(self) -> list[RawMsg]:
        """Everything held, in the stream's order; nothing is held afterwards."""
        messages, self._messages = sorted(self._messages, key=_key), []
        return messages


def _key(msg: RawMsg) -> tuple[int, int]:
    try:
        return Position.of(msg[1]).key
    except NotJetStream:  # the consumer says so when it comes to it
        return _LAST
