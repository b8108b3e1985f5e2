"""An atomic batch of JetStream messages, encoded as it is filled."""

import asyncio
import secrets
from collections.abc import Sequence
from typing import Final

from mts1b_platform.eventbus.core import CORE
from mts1b_platform.eventbus.events.outgoing import Draft
from mts1b_platform.eventbus.protocol.frames import FrameTemplate, frame_size
from mts1b_platform.eventbus.protocol.headers import HeaderLines
from mts1b_platform.eventbus.protocol.puback import PubAck

MAX_BATCH: Final = 1000
"""Most messages that the server takes as one atomic batch."""
_FRAMER: Final = CORE.Framer(FrameTemplate) if CORE is not None else None


class Batch:
    """An atomic batch, encoded as it is filled, and sent where there is room: all but its last message.

    To be stored once, by :meth:`AckPipeline.store`; one that never is, is nothing to the server.
    """

    def __init__(self, drafts: Sequence[Draft] = ()) -> None:
        self.lead = b"Nats-Batch-Id: %b\r\nNats-Batch-Sequence: " % secrets.token_hex(11).encode()
        """The header lines that name it, up to the number of a message."""
        self.drafts: list[Draft] = []
        self.frames: list[bytes] = []
        """Without a word on acks: the first and the last message are encoded anew for that."""
        self.largest = 0
        """Bytes of its largest message, as the server holds them against ``max_payload``."""
        self.sent = 0
        """How many of its messages are on their way."""
        self.era = 0
        """The connection that they went to."""
        self.begun: asyncio.Future[PubAck] | None = None
        """What the server says to the first."""
        self.add(drafts)

    def add(self, drafts: Sequence[Draft]) -> None:
        """Encode more messages behind those that are there.

        Raises:
            HeaderError: an id cannot go on the wire.
        """
        frames = self._frames(drafts)
        if frames:
            self.largest = max(self.largest, frame_size(max(frames, key=len)))
        self.frames += frames
        self.drafts += drafts

    def _frames(self, drafts: Sequence[Draft]) -> list[bytes]:
        lead, first = self.lead, len(self.drafts) + 1
        if _FRAMER is not None and isinstance(drafts, list):
            made = _FRAMER.batch_frames(drafts, lead, first)
            if made is not None:
                return made
        return [
            template.encode(payload, trace_id, msg_id, b"", HeaderLines(b"%b%b%d\r\n" % (extra, lead, number)))
            for number, (template, payload, trace_id, msg_id, extra) in enumerate(drafts, first)
        ]
