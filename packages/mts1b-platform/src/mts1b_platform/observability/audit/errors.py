"""The one error of the audit log."""

from mts1b_foundation.errors import Mts1bError


class AuditError(Mts1bError):
    """The audit log cannot be opened, written or read."""
