"""Tables fit the terminal, and cut nothing."""

import pytest
from mts1b_platform.output import print_listing, print_table

ROWS = [
    {
        "stream": "OMS_ORDERS",
        "subjects": ("mts.v1.oms.orders.created.>", "mts.v1.oms.orders.accepted.>"),
        "why": "its own",
    },
    {"stream": "RISK", "subjects": (), "why": "what is long enough to be worth a second line of its own in this table"},
]


def printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("columns", [60, 80, 100, 300])
def test_a_table_fits_the_terminal_and_loses_no_word(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("COLUMNS", str(columns))
    print_table(ROWS)
    lines = printed(capsys)
    assert max(map(len, lines)) <= columns
    words = {word for line in lines for word in line.split()}
    assert {"OMS_ORDERS", "mts.v1.oms.orders.created.>,", "mts.v1.oms.orders.accepted.>", "second", "table"} <= words
    assert lines[1].startswith("OMS_ORDERS  mts.v1.oms.orders.created.>,")


def test_words_are_never_cut(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("COLUMNS", "20")
    print_table([{"subject": "mts.v1.marketdata.quotes.{symbol}", "bytes": 123_456_789_012}])
    assert "mts.v1.marketdata.quotes.{symbol}  123456789012" in printed(capsys)


def test_a_table_may_show_less_than_json(capsys: pytest.CaptureFixture[str]):
    print_listing(ROWS, as_json=False, columns=("stream",))
    assert printed(capsys) == ["STREAM", "OMS_ORDERS", "RISK"]
