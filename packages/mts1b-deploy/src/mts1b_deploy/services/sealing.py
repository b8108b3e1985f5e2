"""Secrets that lie on the disk encrypted for this host: systemd's own credentials, opened when a unit starts.

What they are encrypted with is the host's key (``/var/lib/systemd/credential.secret``, for root alone), together with
its TPM where it has one. A file that is copied elsewhere, in a backup for example, cannot be read there.
"""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mts1b_deploy.errors import SealRefused, StartFailed
from mts1b_deploy.services.units import found_program

SEALED: Final = ".sealed"
LEAST: Final = 250
"""The version of systemd that brought encrypted credentials."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}")


def seal(path: Path, name: str | None = None, *, keep: bool = False) -> Path:
    """Encrypt a secret for this host, make sure that it can be opened again, and remove what lies in clear text.

    Args:
        path: the file with the secret.
        name: under which services know it; that of the file when left out. It is part of what is encrypted.
        keep: leave the file with the secret where it is.

    Returns: the encrypted file, which lies beside it.

    Raises:
        SealRefused: systemd is older than 250 or not there, or the file cannot be read or written.
    """
    ensure_available()
    name, sealed = name or path.name, path.with_name(path.name + SEALED)
    if not _NAME.fullmatch(name):
        raise SealRefused(f"{name!r} cannot be the name of a secret: letters, digits, dots, dashes; --name NAME")
    try:
        secret = path.read_bytes()
    except OSError as error:
        raise SealRefused(f"{path} cannot be read: {error.strerror}") from None
    part = sealed.with_name(f".{sealed.name}.part")
    try:
        part.unlink(missing_ok=True)
        part.touch(mode=0o600)
        part.write_bytes(_creds("encrypt", f"--name={name}", "-", "-", given=secret))
        if opened(name, part) != secret:
            raise SealRefused(f"{path}: what was encrypted does not open to the same; it was left as it is")
        part.replace(sealed)
    except OSError as error:
        raise SealRefused(f"{sealed} cannot be written: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)
    if not keep:
        path.unlink()
    return sealed


def opened(name: str, path: Path) -> bytes:
    """A secret in clear text.

    Raises:
        SealRefused: it was sealed for another host or under another name, or is not there.
    """
    if not path.is_file():
        raise SealRefused(f"the sealed secret {path} is not there: `mts1b-deploy services seal FILE` makes one")
    return _creds("decrypt", f"--name={name}", str(path), "-")


def ensure_opens(sealed: Mapping[str, Path]) -> None:
    """Make sure that this host can open what its services are to be given.

    Raises:
        SealRefused: it cannot.
    """
    if sealed:
        ensure_available()
    for name, path in sealed.items():
        opened(name, path)


def ensure_available() -> None:
    """Make sure that systemd can do this.

    Raises:
        SealRefused: it is older than 250, or not there.
    """
    remedy = "give secrets in clear text, as `credentials` in services.toml"
    try:
        said = subprocess.run([found_program("systemctl"), "--version"], capture_output=True, text=True, check=False)
        found_program("systemd-creds")
    except StartFailed:
        raise SealRefused(f"sealed secrets need systemd {LEAST} or newer with systemd-creds: {remedy}") from None
    version = re.match(r"systemd (\d+)", said.stdout)
    if version is None or int(version[1]) < LEAST:
        have = version[1] if version else "none that tells its version"
        raise SealRefused(f"sealed secrets need systemd {LEAST} or newer, and this host has {have}: {remedy}")


def _creds(*words: str, given: bytes | None = None) -> bytes:
    done = subprocess.run([found_program("systemd-creds"), *words], input=given, capture_output=True, check=False)
    if done.returncode != 0:
        raise SealRefused(
            f"`systemd-creds {' '.join(words)}` failed: {done.stderr.decode(errors='replace').strip()}. A secret that "
            "was sealed for another host, or under another name, is to be sealed here anew"
        )
    return done.stdout
