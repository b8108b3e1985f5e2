"""What a run says when it is over."""

import pytest
from mts1b_desk.run.words import next_steps
from mts1b_desk.settings import DeskSettings


def test_what_to_try_next_is_there_where_it_was_installed_from(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MAKELEVEL", raising=False)
    installed = next_steps(DeskSettings(session="words"))
    assert "make" not in installed
    assert "  mts1b-desk run --state desk " in installed
    monkeypatch.setenv("MAKELEVEL", "1")
    assert "  make stop " in next_steps(DeskSettings(session="words"))
