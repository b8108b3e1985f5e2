"""What every sink of alerts is."""

from collections.abc import Sequence
from typing import Protocol

from mts1b_foundation.errors import Mts1bError
from mts1b_foundation.operations import Alert


class SinkError(Mts1bError):
    """An alert could not be delivered; the message names the sink and the cause."""


class Sink(Protocol):
    """Where alerts are delivered."""

    async def tell(self, changes: Sequence[Alert], active: Sequence[Alert], /) -> None:
        """Deliver the changes, and the alerts in force.

        Called after every survey, with the changes that a failed call was given once more.

        Raises:
            SinkError: it could not be handed over.
        """
        ...
