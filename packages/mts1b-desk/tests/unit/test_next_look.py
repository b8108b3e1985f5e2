"""How long a replay at full speed waits before it looks again whether orders keep up."""

import pytest
from mts1b_desk.services.marketdata import next_look


@pytest.mark.parametrize(
    ("behind", "done", "took", "before", "pause"),
    [
        (4, 10, 0.02, 0.05, 0.008),  # when the rest should be done at this pace
        (1, 10, 0.01, 0.05, 0.002),  # asking takes time from those who work
        (1000, 10, 0.02, 0.002, 0.05),
        (4, 0, 0.02, 0.004, 0.008),  # nothing moves: less and less often
        (4, 0, 0.02, 0.04, 0.05),
    ],
)
def test_the_next_look_is_when_the_orders_should_be_done(
    behind: int, done: int, took: float, before: float, pause: float
):
    assert next_look(behind, done, took, before) == pytest.approx(pause)
