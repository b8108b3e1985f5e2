"""Certificates are handed out to whom they are for."""

import os
import pwd
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mts1b_deploy.errors import PkiError
from mts1b_deploy.layout import Layout
from mts1b_deploy.pki.store import Pki
from mts1b_deploy.services.hand_out import hand_out


def test_one_certificate_is_handed_out_while_those_of_others_are_missing(tmp_path: Path):
    layout, me = Layout(tmp_path), pwd.getpwuid(os.getuid()).pw_name
    pki = Pki(layout.pki)
    pki.init()
    pki.issue("mts1b-console", hosts=["127.0.0.1"])
    record: Any = SimpleNamespace(handed={"somebody": ("server",), me: ("mts1b-console",)})
    assert hand_out(layout, record, ["mts1b-console"]) == [me]
    assert (layout.handed(me) / "mts1b-console.pem").read_bytes() == pki.pem("mts1b-console").read_bytes()
    with pytest.raises(PkiError):
        hand_out(layout, record)
