"""Rows of text as columns: the same as Python's csv reads, wherever the text is cut while it is read."""

import csv
import io

from hypothesis import given
from hypothesis import strategies as st
from mts1b_desk.data.delimited import BadRow, columns_of

Read = tuple[list[list[str]], int | None]
"""The rows before the first that is damaged, and its number."""


def by_csv(text: str, width: int) -> Read:
    rows: list[list[str]] = []
    try:
        for row in csv.reader(io.StringIO(text, newline=None), strict=True):
            if not row or (len(row) == 1 and not row[0].strip()):
                continue
            if len(row) != width:
                return rows, len(rows) + 1
            rows.append(row)
    except csv.Error:
        return rows, len(rows) + 1
    return rows, None


def by_columns(text: str, width: int, characters: int) -> Read:
    rows: list[list[str]] = []
    try:
        for columns in columns_of(io.StringIO(text, newline=None), ",", width, characters=characters):
            rows += map(list, zip(*columns, strict=True))
    except BadRow as bad:
        return rows, bad.number
    return rows, None


CELLS = st.sampled_from(["a", "", "bc", " ", '"x"', '"y,z"', '"p""q"', '" \n"', '"\n\n"'])
LINES = st.lists(CELLS, min_size=1, max_size=3).map(",".join)
ENDS = st.sampled_from(["\n", "\r\n", "\n\n", ""])
TABLES = st.lists(st.tuples(LINES, ENDS), max_size=8).map(lambda rows: "".join(line + end for line, end in rows))


@given(text=TABLES | st.text('a,"\n\r\0 ', max_size=30), width=st.integers(2, 3), characters=st.integers(1, 20))
def test_rows_are_those_of_csv_wherever_the_text_is_cut(text: str, width: int, characters: int):
    assert by_columns(text, width, characters) == by_csv(text, width)
