"""What the desk's tests share: small files of made-up market data, and settings of a small desk."""

import csv
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from mts1b_desk.settings import DeskSettings, FundSettings, ReplaySettings

START = datetime(2022, 5, 4, 13, 30, tzinfo=UTC)

MakeQuotes = Callable[..., Path]


def write_csv(path: Path, header: list[str], rows: list[list[object]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


@pytest.fixture
def quotes_file(tmp_path: Path) -> MakeQuotes:
    """Makes a CSV file of quotes that trend up and down, several symbols in turn, with small sizes."""

    def make(
        count: int = 400, symbols: tuple[str, ...] = ("ABC", "BRK.B"), seed: int = 3, name: str = "made.csv"
    ) -> Path:
        rng = random.Random(seed)  # noqa: S311 - made-up prices
        prices = {symbol: 50.0 * (number + 1) for number, symbol in enumerate(symbols)}
        rows: list[list[object]] = []
        now = START
        for number in range(count):
            now += timedelta(milliseconds=rng.randrange(20, 400))
            symbol = symbols[number % len(symbols)]
            prices[symbol] *= 1 + rng.gauss(0, 4e-4)
            bid = round(prices[symbol], 2)
            sizes = (round(rng.uniform(0, 300), 3), round(rng.uniform(0, 300), 3))
            rows.append([now.isoformat(), symbol, bid, round(bid + 0.02, 2), *sizes])
        return write_csv(tmp_path / name, ["timestamp", "symbol", "bid", "ask", "bid_size", "ask_size"], rows)

    return make


@pytest.fixture
def desk_settings() -> Callable[..., DeskSettings]:
    """Makes the settings of a desk with two funds that replays a file."""

    def make(path: Path, **changes: object) -> DeskSettings:
        settings = DeskSettings(
            session="s1",
            source=ReplaySettings(path=path),
            funds=(FundSettings(fund_id="alpha"), FundSettings(fund_id="beta", order_notional=Decimal(3333))),
            market_start=START,
        )
        return settings.model_copy(update=changes)

    return make
