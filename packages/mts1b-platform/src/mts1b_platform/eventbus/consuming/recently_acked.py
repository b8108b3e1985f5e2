"""What a consumer has acknowledged lately: an ack that is late or lost must not have its event handled again."""

from collections import deque
from typing import Final

from mts1b_platform.eventbus.protocol.position import MessageKey, NotJetStream, Position

_REMEMBERED: Final = 20_000
"""Acks that can be on their way, of which ``max_ack_pending`` allows 10,000, or be forgotten by a killed server."""


class RecentlyAcked:
    """The last acknowledged messages. Adding one costs an append; they are read when somebody asks."""

    __slots__ = ("_keys", "_replies", "add")

    def __init__(self) -> None:
        self._replies: deque[bytes] = deque(maxlen=_REMEMBERED)
        self._keys: dict[MessageKey, None] = {}
        self.add = self._replies.append
        """Note the reply subject of a delivery that was acknowledged."""

    def __contains__(self, key: MessageKey) -> bool:
        keys, replies = self._keys, self._replies
        while replies:
            try:
                keys[Position.of(replies.popleft()).key] = None
            except NotJetStream:
                continue
        while len(keys) > _REMEMBERED:
            del keys[next(iter(keys))]
        return key in keys
