"""Telling a server that refuses us from one that is away: the first is asked again more slowly."""

import ssl
from typing import Final

from mts1b_platform.eventbus.errors import IdentityRefused, ServerError

_REFUSALS: Final = (
    "authorization violation",
    "authentication expired",
    "authentication revoked",
    "authentication timeout",
)
_ALERTS: Final = ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED", "HANDSHAKE_FAILURE")


def is_refusal(error: BaseException | None) -> bool:
    """Whether a server refused who we are, by its words or by a TLS alert about our certificate.

    A server that we refuse, as its certificate cannot be verified, is something else.
    """
    if isinstance(error, IdentityRefused):
        return True
    if isinstance(error, ServerError):
        words = error.words.lower()
        return any(refusal in words for refusal in _REFUSALS)
    of_tls = error if error is None or isinstance(error, ssl.SSLError) else error.__cause__
    if isinstance(of_tls, ssl.SSLError):
        reason = str(getattr(of_tls, "reason", "")).upper()  # libraries derive from it without one
        return "ALERT" in reason and any(alert in reason for alert in _ALERTS)
    return False
