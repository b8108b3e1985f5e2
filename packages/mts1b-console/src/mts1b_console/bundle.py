"""The browser's program: prebuilt files in the package, served with their hashes."""

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import Final

from mts1b_foundation.errors import Mts1bError

PAGE: Final = "index.html"
TYPES: Final[Mapping[str, str]] = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
    "json": "application/json",
    "webmanifest": "application/manifest+json",
    "woff2": "font/woff2",
    "png": "image/png",
    "ico": "image/x-icon",
}
"""What is served, by the ending of its name. Everything else in the folder is not."""


class BundleError(Mts1bError):
    """The package is not complete."""


@dataclass(frozen=True)
class File:
    """One file of the program."""

    name: str
    content: bytes
    type: str
    hash: str
    """SHA-256, in hex."""

    @cached_property
    def gzipped(self) -> bytes:
        """The content, compressed as far as it goes: once, not for every browser that asks."""
        return gzip.compress(self.content, 9, mtime=0)


def bundle() -> Mapping[str, File]:
    """The files by name, read once; names are plain, so that nothing but these can be asked for.

    Raises:
        BundleError: the page itself is not there.
    """
    found: dict[str, File] = {}
    for each in files("mts1b_console").joinpath("static").iterdir():
        kind = TYPES.get(each.name.rpartition(".")[2])
        if each.is_file() and kind is not None:
            content = each.read_bytes()
            found[each.name] = File(each.name, content, kind, hashlib.sha256(content).hexdigest())
    if PAGE not in found:
        raise BundleError(
            f"{PAGE} is missing from the console's package: install mts1b-console again, or in a checkout "
            "`make console-bundle`"
        )
    return found
