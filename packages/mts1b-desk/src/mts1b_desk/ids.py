"""Ids that are the same whenever the same data is worked by the same session, and different between sessions."""

from hashlib import blake2b

from mts1b_foundation.subjects import encode_token

_LONGEST = 48


def token(text: str) -> str:
    """``text`` as a part of an id: encoded like a subject token, and shortened to a digest when it is long."""
    encoded = encode_token(text)
    if len(encoded) <= _LONGEST:
        return encoded
    return f"{encoded[: _LONGEST - 17]}-{blake2b(text.encode(), digest_size=8).hexdigest()}"


def signal_id(session: str, strategy: str, symbol: str, number: int) -> str:
    """Names the ``number``-th signal of a strategy for a symbol in a session."""
    return f"{session}.{token(strategy)}.{token(symbol)}.{number}"


def intent_id(signal: str, fund_id: str) -> str:
    """Names what one fund makes of a signal: its idempotency key and its order."""
    return f"{signal}.{token(fund_id)}"
