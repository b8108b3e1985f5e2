"""JetStream's error numbers, under the server's own names (nats-server ``errors.json``)."""

from enum import IntEnum
from typing import Final


class ErrorCode(IntEnum):
    """The numbers that this project acts on."""

    CLUSTER_NOT_AVAILABLE = 10008
    """The cluster has no leader right now: "JetStream system temporarily unavailable"."""
    CONSUMER_NOT_FOUND = 10014
    NO_MESSAGE_FOUND = 10037
    """No stored message matches."""
    STREAM_MSG_DELETE_FAILED = 10057
    """The message to delete is not there any more."""
    STREAM_NOT_FOUND = 10059
    STREAM_WRONG_LAST_SEQUENCE = 10071
    STREAM_DUPLICATE_MESSAGE_CONFLICT = 10158
    """A cluster still works on an earlier publish with the same message id: nobody knows yet how it ends."""
    STREAM_WRONG_LAST_SEQUENCE_CONSTANT = 10164
    ATOMIC_PUBLISH_INCOMPLETE_BATCH = 10176
    """The server has given up the batch, or a part was lost with a connection; none of it is stored."""
    ATOMIC_PUBLISH_CONTAINS_DUPLICATE_MESSAGE = 10201
    """A message id of the batch is known, or occurs twice; none of it is stored."""


WRONG_LAST_SEQUENCE: Final = frozenset(
    {ErrorCode.STREAM_WRONG_LAST_SEQUENCE, ErrorCode.STREAM_WRONG_LAST_SEQUENCE_CONSTANT}
)
"""A write expected another last sequence of its subject than the stream has."""
