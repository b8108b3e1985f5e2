"""The files of a backup: written once, with a fingerprint, and encrypted where recipients are named.

Encryption is age's (https://age-encryption.org): what is written here can be read with its own command as well.
"""

import hashlib
import io
import os
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import pyrage

from mts1b_deploy.errors import BackupError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

Recipient = pyrage.x25519.Recipient | pyrage.ssh.Recipient
Identity = pyrage.x25519.Identity | pyrage.ssh.Identity

SEALED: Final = ".age"
_BUFFER: Final = 1 << 20


def recipients_named(words: Sequence[str]) -> list[Recipient]:
    """Whoever may read a backup: ``age1…`` or ``ssh-ed25519 …`` each, or a file with one a line.

    Raises:
        BackupError: one is neither.
    """
    return [_recipient(line) for word in words for line in _lines(word)]


def identities_in(path: Path | None) -> list[Identity]:
    """The keys in a file of ``age-keygen``, or a private key of ssh.

    Raises:
        BackupError: it cannot be read, or holds no key.
    """
    if path is None:
        return []
    try:
        content = path.read_bytes()
        if b"PRIVATE KEY-----" in content:
            return [pyrage.ssh.Identity.from_buffer(content)]
        found: list[Identity] = [pyrage.x25519.Identity.from_str(line) for line in _keys(content.decode())]
    except (OSError, UnicodeDecodeError, pyrage.IdentityError) as error:
        raise BackupError(f"{path} holds no key that a backup can be read with: {error}") from None
    if not found:
        raise BackupError(f"{path} holds no key: it needs a line AGE-SECRET-KEY-…, as `age-keygen` writes it")
    return found


class Part(io.RawIOBase):
    """A file of a backup while it is written, and what it became."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.size = 0
        self._digest = hashlib.sha256()
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)

    @property
    def sha256(self) -> str:
        """The fingerprint of what was written so far."""
        return self._digest.hexdigest()

    def writable(self) -> bool:
        """It can be written, and not read."""
        return True

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write what the file is to hold next."""
        written = os.write(self._fd, data)
        self._digest.update(memoryview(data)[:written])
        self.size += written
        return written

    def finish(self, *, good: bool) -> None:
        """Bring it to the disk; or leave no half of a file."""
        if good:
            os.fsync(self._fd)
        os.close(self._fd)
        if not good:
            self.path.unlink(missing_ok=True)


@contextmanager
def new_part(path: Path, recipients: Sequence[Recipient]) -> Generator[tuple[BinaryIO, Part]]:
    """A file that was not there, for its owner alone: where to write to, and what it becomes; on disk at the end.

    With ``recipients`` its name ends with ``.age``, and no clear text touches a disk.
    """
    part = Part(path.with_name(path.name + SEALED) if recipients else path)
    good = False
    try:
        file = io.BufferedWriter(part, _BUFFER)
        if recipients:
            with _through(lambda source: pyrage.encrypt_io(source, file, recipients)) as writer:
                yield writer, part
        else:
            yield file, part
        file.flush()
        good = True
    finally:
        part.finish(good=good)


@contextmanager
def open_part(path: Path, identities: Sequence[Identity]) -> Generator[BinaryIO]:
    """What a file of a backup holds, in clear text.

    Raises:
        BackupError: it is encrypted, and none of ``identities`` is among its recipients.
    """
    if path.suffix != SEALED:
        with path.open("rb") as file:
            yield file
        return
    if not identities:
        raise BackupError(f"{path} is encrypted: name the file with the key, --identity FILE")
    with io.BufferedReader(_Opened(path, identities), _BUFFER) as reader:
        yield reader


class _Opened(io.RawIOBase):
    """What a thread decrypts; its end counts only when that has ended well."""

    def __init__(self, path: Path, identities: Sequence[Identity]) -> None:
        super().__init__()
        self._path = path
        self._read, self._write = os.pipe()
        self._failed: list[Exception] = []
        self._thread = threading.Thread(target=self._decrypt, args=(identities,), daemon=True)
        self._thread.start()

    def readable(self) -> bool:
        """It can be read, and not written."""
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Read what comes next."""
        data = os.read(self._read, len(memoryview(buffer)))
        if not data:
            self._thread.join()
            if self._failed:
                raise BackupError(f"{self._path} cannot be decrypted: {self._failed[0]}. Is it the right --identity?")
        memoryview(buffer)[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """End the thread, too."""
        if not self.closed:
            os.close(self._read)
            self._thread.join()
        super().close()

    def _decrypt(self, identities: Sequence[Identity]) -> None:
        try:
            with self._path.open("rb") as source, os.fdopen(self._write, "wb") as target:
                pyrage.decrypt_io(source, target, identities)
        except (OSError, pyrage.DecryptError) as error:
            self._failed.append(error)


@contextmanager
def _through(work: Callable[[io.BufferedReader], object]) -> Generator[io.BufferedWriter]:
    """A file to write to, whose content a thread works on meanwhile."""
    read, write = os.pipe()
    failed: list[Exception] = []

    def run() -> None:
        try:
            with os.fdopen(read, "rb") as source:
                work(source)
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        with suppress(BrokenPipeError), os.fdopen(write, "wb") as writer:  # why nobody reads any more is told below
            yield writer
    finally:
        thread.join()
    if failed:
        raise BackupError(f"it cannot be encrypted: {failed[0]}") from failed[0]


def _lines(word: str) -> list[str]:
    if word.startswith(("age1", "ssh-")):
        return [word]
    try:
        lines = _keys(Path(word).read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise BackupError(f"{word!r} is no recipient (age1…, ssh-ed25519 …) and no file of them: {error}") from None
    if not lines:
        raise BackupError(f"{word} names no recipient: one a line, such as age1…")
    return lines


def _keys(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def _recipient(line: str) -> Recipient:
    try:
        kind = pyrage.ssh.Recipient if line.startswith("ssh-") else pyrage.x25519.Recipient
        return kind.from_str(line)
    except pyrage.RecipientError as error:
        raise BackupError(f"{line!r} is no recipient: {error}. `age-keygen` prints one, age1…") from None
