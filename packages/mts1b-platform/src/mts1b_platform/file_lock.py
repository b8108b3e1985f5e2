"""Locks on open files, which the kernel lets go of when their process dies. Linux and macOS have them.

On Windows the client side of the bus works (``mts1b_foundation``, ``mts1b_platform.eventbus``); what needs a lock, the
audit log, the index, the installer, says that it does not.
"""

from mts1b_foundation.errors import Mts1bError


class UnsupportedSystem(Mts1bError):
    """This system has no locks on files."""


def try_lock(descriptor: int) -> bool:
    """Lock an open file until it is closed; says whether it could be, without waiting.

    Raises:
        UnsupportedSystem: the system has no such locks.
    """
    try:
        import fcntl
    except ImportError:
        raise UnsupportedSystem(
            "this needs Linux or macOS: elsewhere the client side of the bus works (connect, emit, consume, listen), "
            "but not the audit log, the index and the installer"
        ) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
