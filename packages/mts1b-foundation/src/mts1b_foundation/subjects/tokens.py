"""Parameter values as subject tokens: any text in, one safe token out, and back.

Bytes outside ``[A-Za-z0-9_-]`` become ``=XX`` (upper-case hexadecimal of the UTF-8 byte), so that a symbol with
a dot stays one token and a wildcard character is never a wildcard: ``BRK.B`` is ``BRK=2EB``.
"""

import hashlib
import json
import re
from functools import lru_cache

from mts1b_foundation.errors import InvalidToken

_PLAIN = re.compile(r"[A-Za-z0-9_-]+")
_TOKEN = re.compile(r"(?:[A-Za-z0-9_-]|=[0-9A-F]{2})+")
_ESCAPE = re.compile(rb"=([0-9A-F]{2})")
_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")


@lru_cache(maxsize=16_384)
def encode_token(value: str) -> str:
    """The token that stands for ``value``.

    Raises:
        InvalidToken: when ``value`` is empty, or cannot be written as UTF-8.
    """
    if not value:
        raise InvalidToken("an empty value cannot become a subject token: give it at least one character")
    if _PLAIN.fullmatch(value):
        return value
    try:
        data = value.encode()
    except UnicodeEncodeError as error:
        raise InvalidToken(f"{value!r} cannot become a subject token: {error.reason}") from error
    return "".join(chr(byte) if byte in _SAFE else f"={byte:02X}" for byte in data)


@lru_cache(maxsize=16_384)
def decode_token(token: str) -> str:
    """The value that ``token`` stands for; the inverse of :func:`encode_token`.

    Raises:
        InvalidToken: when no value encodes to ``token``.
    """
    if _PLAIN.fullmatch(token):
        return token
    if not _TOKEN.fullmatch(token):
        raise InvalidToken(f"{token!r} is no encoded subject token: only A-Z a-z 0-9 _ - and =XX may stand in one")
    try:
        value = _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), token.encode()).decode()
    except UnicodeDecodeError as error:
        raise InvalidToken(f"{token!r} does not decode to UTF-8 text: {error.reason}") from error
    if encode_token(value) != token:
        raise InvalidToken(f"{token!r} is not the canonical token of {value!r}: {encode_token(value)!r} is")
    return value


def inbox_of_person(issuer: str, subject: str) -> str:
    """First token of the subjects on which a person receives answers; two issuers' people of one name are apart.

    Made of what a token says (its claims ``iss`` and ``sub``), so that the client and whoever admits it agree.
    """
    return f"_INBOX_{hashlib.sha256(json.dumps([issuer, subject]).encode()).hexdigest()[:24]}"
