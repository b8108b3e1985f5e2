"""Who is handed the messages of a pinned durable, as it is stored: the last term, and who took it."""

from mts1b_foundation.subjects import encode_token


def term_key(stream: str, durable: str) -> str:
    """The key of the dedupe bucket that holds the term of ``durable``; a service may write below its durables."""
    return f"{encode_token(durable)}.term.{encode_token(stream)}"


def read_term(value: bytes) -> tuple[int, str]:
    """The term, and the name of who took it; 0 and nothing where the value is none."""
    number, _, member = value.partition(b" ")
    return (int(number), member.decode(errors="replace")) if number.isdigit() else (0, "")
