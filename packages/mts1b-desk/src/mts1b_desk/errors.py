"""The errors of the desk.

::

    Mts1bError
    └── DeskError               the desk cannot do what was asked; the message says what to do
        ├── DataError           a market data file cannot be read; names file, row and column
        └── RunFailed           a run came to a bad end: a service died, or somebody else's desk is running
"""

from mts1b_foundation.errors import Mts1bError


class DeskError(Mts1bError):
    """The desk cannot do what was asked."""


class DataError(DeskError):
    """A market data file cannot be read."""


class RunFailed(DeskError):
    """A run failed."""
