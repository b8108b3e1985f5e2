"""The short form of the soak: some faults of each sort for a minute. ``make soak`` runs the long form."""

from pathlib import Path

import pytest
from soak_report import report
from soak_run import Soak


@pytest.mark.slow(seconds=70)
async def test_a_bus_lives_through_a_minute_of_faults(tmp_path: Path):
    soak = Soak(tmp_path, seconds=60, seed=7, warm_up=(4, 0))
    figures = await soak.carry_out()
    print(report(figures))
    assert figures.complaints == []
    assert len(figures.times) >= 5
    assert figures.reconnects >= 10
    assert figures.orders["published"] > 500
