"""A file is replaced whole, or stays as it was."""

import os
from pathlib import Path

import pytest
from mts1b_platform.whole_file import write_whole


def test_a_file_is_replaced_with_its_mode_and_nothing_is_left_beside_it(tmp_path: Path):
    path = tmp_path / "key"
    write_whole(path, b"one")
    assert path.stat().st_mode & 0o777 == 0o600
    write_whole(path, b"two", 0o644, sync=False)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"two", 0o644)
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_content_and_no_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "key"
    write_whole(path, b"one")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, b"two")
    assert path.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [path]
