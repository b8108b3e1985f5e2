"""What tests of connections hand in as a callback, whether the server is real or not."""

from mts1b_platform.eventbus.protocol.message import RawMsg


class Received:
    """A callback that keeps batches."""

    def __init__(self) -> None:
        self.batches: list[list[RawMsg]] = []

    def __call__(self, batch: list[RawMsg]) -> None:
        self.batches.append(batch)

    @property
    def payloads(self) -> list[bytes]:
        return [msg[3] for batch in self.batches for msg in batch]
