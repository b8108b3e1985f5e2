"""Secrets that are encrypted for this host, by systemd's own program; and what is said where that cannot be."""

from pathlib import Path

import pytest
from mts1b_deploy.errors import ConfigFileError, SealRefused
from mts1b_deploy.layout import Layout
from mts1b_deploy.services.definition import Services
from mts1b_deploy.services.sealing import ensure_opens, opened, seal
from mts1b_deploy.services.units import render_page, render_service


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    made = tmp_path / "ntfy-token"
    made.write_text("tk_secret")
    return made


@pytest.mark.privileged
def test_a_sealed_secret_opens_under_its_name_alone_and_is_nowhere_in_clear_text(secret: Path, tmp_path: Path):
    sealed = seal(secret)
    assert [path.name for path in tmp_path.iterdir()] == ["ntfy-token.sealed"]
    assert sealed.stat().st_mode & 0o077 == 0
    assert b"tk_secret" not in sealed.read_bytes()
    assert opened("ntfy-token", sealed) == b"tk_secret"
    ensure_opens({"ntfy-token": sealed})
    with pytest.raises(SealRefused, match="sealed for another host, or under another name"):
        ensure_opens({"another": sealed})
    content = bytearray(sealed.read_bytes())
    content[len(content) // 2] ^= 1  # a letter of base64 that is another one, as of another host
    sealed.write_bytes(bytes(content))
    with pytest.raises(SealRefused):
        ensure_opens({"ntfy-token": sealed})
    with pytest.raises(SealRefused, match="is not there"):
        ensure_opens({"ntfy-token": tmp_path / "gone"})


@pytest.mark.privileged
def test_a_secret_that_cannot_be_sealed_stays_as_it_is(secret: Path, tmp_path: Path):
    for name, said in (("a/b", "cannot be the name"), ("x" * 300, "cannot be the name")):
        with pytest.raises(SealRefused, match=said):
            seal(secret, name)
    with pytest.raises(SealRefused, match="cannot be read"):
        seal(tmp_path / "gone")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["tk_secret"]
    assert seal(secret, keep=True).exists()
    assert secret.read_text() == "tk_secret"


@pytest.mark.parametrize(("said", "have"), [("systemd 249 (249.11)", "this host has 249"), ("busybox", "none that")])
def test_a_systemd_that_cannot_is_named_with_what_to_do(
    secret: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, have: str
):
    for program in ("systemctl", "systemd-creds"):
        (tmp_path / program).write_text(f"#!/bin/sh\necho '{said}'\n")
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SealRefused, match=f"need systemd 250 or newer, and .*{have}.*: give secrets in clear text"):
        seal(secret)
    assert secret.read_text() == "tk_secret"
    with pytest.raises(SealRefused):
        ensure_opens({"ntfy-token": secret})
    ensure_opens({})


def test_units_are_told_of_sealed_secrets_and_one_is_named_once(tmp_path: Path):
    file = tmp_path / "services.toml"
    service = f'[services.monitor]\ncommand = "/bin/true"\nsealed = {{ token = "{tmp_path}/token.sealed" }}\n'
    file.write_text(service)
    services = Services.read(file)
    line = f"LoadCredentialEncrypted=token:{tmp_path}/token.sealed\n"
    assert line in render_service(Layout(tmp_path), services, "monitor", services.services["monitor"])
    assert line in render_page(Layout(tmp_path), services)
    file.write_text(f'{service}credentials = {{ token = "/x" }}\n')
    with pytest.raises(ConfigFileError, match="token: in credentials and in sealed"):
        Services.read(file)
