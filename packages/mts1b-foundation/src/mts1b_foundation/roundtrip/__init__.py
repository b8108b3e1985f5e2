"""Whether what is written of a payload can be read again: values made from its fields, written and read back."""

from mts1b_foundation.roundtrip.examine import Problem, unread, unreadable
from mts1b_foundation.roundtrip.plain import leaf, plain, plain_fields

__all__ = ["Problem", "leaf", "plain", "plain_fields", "unread", "unreadable"]
