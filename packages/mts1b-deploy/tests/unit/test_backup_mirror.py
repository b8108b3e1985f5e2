"""A backup at a mirror, and a restore into one, are refused before anything is written."""

from pathlib import Path

import pytest
from mts1b_deploy.backup import restore as restoring
from mts1b_deploy.backup.manifest import Backup
from mts1b_deploy.backup.restore import restore
from mts1b_deploy.backup.take import backup, backup_into
from mts1b_deploy.errors import BackupError
from mts1b_deploy.layout import Layout
from mts1b_deploy.record import InstallRecord


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path / "bus")
    record = InstallRecord(
        mts1b_version="1", profile="single", include=("nats",), host="127.0.0.1", port=1, monitor_port=2,
        supervisor="detached", server_version="2.15.1", server_source="", site="b", mirrors="a",
        sites=("a=10.0.0.1:7422:4222", "b=10.0.1.1:7422:4222"), files={},
    )  # fmt: skip
    made.record.parent.mkdir(parents=True)
    made.record.write_text(record.text())
    return made


def test_a_backup_at_a_mirror_is_refused_and_leaves_nothing(layout: Layout, tmp_path: Path):
    said = r"site b is a mirror of site a and has no backup of its own: take it at site a, or `mts1b-deploy promote`"
    with pytest.raises(BackupError, match=said):
        backup(layout, tmp_path / "saved")
    with pytest.raises(BackupError, match=said):
        backup_into(layout, tmp_path / "saved", keep=3)
    assert not list((tmp_path / "saved").glob("*"))


def test_a_restore_into_a_mirror_is_refused(layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    found = Backup.model_validate(
        {"taken_at": "2026-11-30T00:00:00Z", "profile": "single", "server_version": "2.15.1", "streams": ()}
    )

    def read(_directory: Path) -> Backup:
        return found

    monkeypatch.setattr(restoring, "read_backup", read)
    with pytest.raises(BackupError, match=r"restore at site a, or .* Nothing was changed"):
        restore(layout, tmp_path)
