"""The clock's offset, as chrony and systemd-timesyncd write it, and what doctor makes of it."""

import pytest
from mts1b_deploy.doctor.clock import Clock, check_clock, of_chrony, of_timesyncd

CHRONY = "A29FC801,time.example.org,3,1638200000.1,{offset},0.00001,0.00003,-21.5,0.001,0.05,0.02,0.0009,64.5,{leap}\n"
TIMESYNCD = """       Server: 193.0.0.1 (ntp.example.org)
Poll interval: 34min 8s (min: 32s; max 34min 8s)
         Leap: normal
       Offset: {offset}
        Delay: 13.5ms
"""


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("-1.2ms", -0.0012), ("+312us", 0.000312), ("+1.523s", 1.523), ("-1min 2.5s", -62.5)],
)
def test_the_offset_that_timesyncd_tells_is_read(said: str, seconds: float):
    clock = of_timesyncd(TIMESYNCD.format(offset=said))
    assert clock is not None
    assert clock.offset == pytest.approx(seconds)


def test_what_chrony_tells_is_read():
    assert of_chrony(CHRONY.format(offset="0.060000000", leap="Normal")) == Clock("chrony", 0.06)
    assert of_chrony(CHRONY.format(offset="0.0", leap="Not synchronised")) == Clock("chrony", None)
    assert of_chrony("506 Cannot talk to daemon\n") is None
    assert of_timesyncd("no server here\n") is None


@pytest.mark.parametrize(
    ("clock", "said"),
    [
        (Clock("chrony", 0.06), "off by 0.060 s, says chrony: times of events"),
        (Clock("chrony", -2.0), "off by 2.000 s, says chrony: certificates"),
        (Clock("chrony", None), "has not synchronised"),
    ],
)
def test_a_clock_that_is_off_or_not_synchronised_is_a_deviation(clock: Clock, said: str):
    (found,) = check_clock(clock)
    assert (found.code, found.severity) == ("clock-offset", "problem")
    assert said in found.what


@pytest.mark.parametrize("clock", [Clock("chrony", -0.049), None])
def test_a_clock_that_is_right_or_kept_elsewhere_is_none(clock: Clock | None):
    assert not list(check_clock(clock))
