"""A simulated market: a seeded random walk per symbol. Every quote of it is labelled as simulated."""

import random
from collections.abc import Iterator
from datetime import timedelta

from mts1b_desk.data.tick import Tick
from mts1b_desk.settings import SIMULATION_START, SimulationSettings

LABEL = "simulated"

_PRICES = {"BTC/USD": 60_000.0, "ETH/USD": 3_000.0}
_CENT = 0.01
_DRIFT_TICKS = 400  # how many ticks of a symbol a trend lasts on average


class SimulatedMarket:
    """Quotes of a market that does not exist: prices follow short trends, spreads and sizes vary.

    The same seed gives the same quotes, from any start; times count from a fixed day, not from today.
    """

    def __init__(self, settings: SimulationSettings) -> None:
        self.label = LABEL
        self._settings = settings

    def ticks(self) -> Iterator[Tick]:
        """The quotes from the opening on; without end unless the settings say how many."""
        settings = self._settings
        rng = random.Random(settings.seed)  # noqa: S311 - a simulation
        prices = {symbol: _PRICES.get(symbol) or 10 ** rng.uniform(1.5, 4) for symbol in settings.symbols}
        drifts = dict.fromkeys(settings.symbols, 0.0)
        now = SIMULATION_START
        number = 0
        while settings.quotes is None or number < settings.quotes:
            number += 1
            now += timedelta(microseconds=int(settings.tick_ms * rng.uniform(500, 1500)))
            symbol = rng.choice(settings.symbols)
            if rng.random() < 1 / _DRIFT_TICKS:
                drifts[symbol] = rng.gauss(0, 2e-5)
            prices[symbol] = price = max(1.0, prices[symbol] * (1 + drifts[symbol] + rng.gauss(0, 5e-5)))
            half = max(_CENT, price * rng.uniform(1e-5, 5e-5))
            bid = round(price - half, 2)
            ask = max(round(price + half, 2), round(bid + _CENT, 2))
            unit = 10_000 / price
            yield Tick(
                symbol,
                now,
                bid,
                ask,
                round(unit * rng.lognormvariate(0.5, 1), 4),
                round(unit * rng.lognormvariate(0.5, 1), 4),
            )
