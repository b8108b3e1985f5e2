"""The bytes of a text file, unpacked by how they begin: a browser that unpacks a file leaves its name as it was."""

# pyarrow ships no types; what leaves this module is typed.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import zipfile
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from mts1b_desk.errors import DataError

TEXT: Final = (".csv", ".txt", ".tsv")
PACKED: Final = (".gz", ".zst", ".zip")
"""What may stand behind the suffix of a text file, or for a zip archive in its place."""
_KINDS: Final = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_ZIP: Final = (b"PK\x03\x04", b"PK\x05\x06")
_EXCEL: Final = "an Excel workbook; save its sheet as CSV UTF-8"
_OTHERS: Final = {
    b"BZh": "packed with bzip2; unpack it first",
    b"\xfd7zXZ": "packed with xz; unpack it first",
    b"7z\xbc\xaf": "a 7z archive; unpack it first",
    b"PAR1": "a Parquet file; call it .parquet",
    b"\xd0\xcf\x11\xe0": _EXCEL,
}


def open_bytes(path: Path) -> Any:
    """A stream of what the text file ``path`` holds.

    Raises:
        DataError: it is no text, nor packed in a way that is read, or an archive of several files.
        OSError, zipfile.BadZipFile: it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(8)
    for magic, what in _OTHERS.items():
        if head.startswith(magic):
            raise DataError(f"{path} is {what}")
    if head.startswith(_ZIP):
        return _only_member(path)
    kind = next((kind for magic, kind in _KINDS.items() if head.startswith(magic)), None)
    return pa.input_stream(str(path), compression=kind)


def _only_member(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        members = [
            each for each in archive.infolist() if not each.is_dir() and not each.filename.startswith("__MACOSX")
        ]
        names = [each.filename for each in members]
        if "[Content_Types].xml" in names:
            raise DataError(f"{path} is {_EXCEL}")
        if len(members) != 1 or not names[0].lower().endswith(TEXT):
            raise DataError(
                f"{path} holds {', '.join(names[:3]) or 'nothing'}{', …' if len(names) > 3 else ''}, and not one "
                f"{' or '.join(TEXT)} file alone; unpack it, and give the folder"
            )
        if members[0].flag_bits & 1:
            raise DataError(f"{path} is locked by a password; unpack it first")
        return archive.open(members[0])
