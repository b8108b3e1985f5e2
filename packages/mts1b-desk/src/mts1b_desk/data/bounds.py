"""The prices that a desk can book.

A decimal of a payload has 38 digits, and the middle of a bid and an ask is one. Prices far outside what any market
quotes have more, and are refused before anything trades.
"""

from typing import Final

LEAST: Final = 1e-18
"""The smallest amount of a price that is not zero."""
MOST: Final = 1e18
"""The largest amount of a price, and of how many times a bid or an ask may be the other."""


def bookable(price: float) -> bool:
    """Whether a price, which may be negative, can be booked to its last digit."""
    return LEAST <= abs(price) <= MOST or price == 0


def near_enough(bid: float, ask: float) -> bool:
    """Whether the middle of two prices that can be booked can be booked to its last digit."""
    bid, ask = abs(bid), abs(ask)
    return (bid <= MOST * ask and ask <= MOST * bid) or not bid or not ask
