"""The errors of the desk.

::

    Mts1bError
    └── DeskError               the desk cannot do what was asked; the message says what to do
        ├── DataError           a market data file cannot be read; names file, row and column
        └── RunFailed           a run came to a bad end: a service died, or somebody else's desk is running
    Fatal                       a service must end now and be started again
"""

from mts1b_foundation.errors import Mts1bError


class DeskError(Mts1bError):
    """The desk cannot do what was asked."""


class DataError(DeskError):
    """A market data file cannot be read."""


class RunFailed(DeskError):
    """A run failed."""


class Fatal(BaseException):
    """The service must end now and be started again; no retry and no dead letter may hide it."""


class OutOfOffice(Fatal):
    """Another instance of the service has taken over: nothing of this one may be stored any more."""
