"""Is the audit log whole? Every place where it is not is named, and what follows is checked all the same."""

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mts1b_platform.observability.audit.line import (
    GENESIS,
    RECOVERED,
    digest_of,
    is_beginning,
    is_record,
    is_whole,
    parse,
)
from mts1b_platform.observability.audit.read import chains, files, lines

_HASH: Final = re.compile("[0-9a-f]{64}")


@dataclass(slots=True)
class Chain:
    """What was found in one chain.

    Attributes:
        path: its directory.
        records: whole lines, those that are not in their place included.
        torn: lines cut off by a crash and accounted for, or cut off at the very end.
        problems: each place where the chain is broken, in words; empty when it is whole.
        head: hash of the last line. Kept elsewhere, it shows later whether lines were cut off from the end.
    """

    path: Path
    records: int = 0
    torn: int = 0
    problems: list[str] = field(default_factory=list[str])
    head: str = GENESIS


def verify(directory: Path, *, heads: dict[str, str] | None = None) -> list[Chain]:
    """Check every chain under ``directory``.

    Args:
        directory: as given to the writers.
        heads: hashes noted earlier, by name of the chain; each must still stand in its chain.

    Raises:
        AuditError: there is no such directory.
    """
    return [_Check(path, (heads or {}).get(path.name)).run() for path in chains(directory)]


class _Check:
    """Goes through one chain, and finds its way back into it behind whatever is broken."""

    __slots__ = ("_chain", "_found", "_gone", "_lost", "_noted", "_number", "_odd", "_odd_at", "_unended", "_unsure")

    def __init__(self, path: Path, noted: str | None) -> None:
        self._chain = Chain(path)
        self._noted = noted
        self._found = noted is None or noted == GENESIS
        self._number = 0
        """Number of the last record."""
        self._lost = 0
        """Lines since then that are none."""
        self._gone: list[str] = []
        """Files since then that hold none."""
        self._unsure = False
        """Whether the hash of the last record may not be the one that it had."""
        self._odd: bytes | None = None
        """A line that is no record, while the next one may account for it."""
        self._odd_at = ""
        self._unended = ""
        """Place of a record without a line feed; a crash leaves one at the very end only."""

    def run(self) -> Chain:
        chain, paths = self._chain, files(self._chain.path)
        expected = 1
        for path in paths:
            number = int(path.stem)
            if number - expected == 1:
                self._without(f"{expected:06}.jsonl", "is missing")
            elif number > expected:
                self._without(f"{expected:06}.jsonl to {number - 1:06}.jsonl", "are missing")
            expected = number + 1
            self._read(path, last=path is paths[-1])
        if not paths:
            self._say("all of its files are missing")
        if self._odd is not None and not is_beginning(self._odd, self._number + 1 + self._lost):
            self._say("not a whole record, and not the beginning of one", self._odd_at)
            chain.torn -= 1
        self._without_records()
        if not self._found:
            self._say(f"the noted head {self._noted} is not in the chain: its end was cut off or replaced")
        return chain

    def _read(self, path: Path, *, last: bool) -> None:
        at = 0
        try:
            for at, line in enumerate(lines(path), 1):
                self._line(f"{path.name}:{at}", line)
        except OSError as error:
            self._without(path.name, f"cannot be read: {error.strerror}")
            return
        if at == 0 and not last:  # a writer begins a file when it has a record for it
            self._without(path.name, "is empty")

    def _line(self, place: str, line: bytes) -> None:
        chain, document = self._chain, parse(line)
        accounted = self._odd is not None and _accounts_for(document, self._odd)
        if self._odd is not None and not accounted:
            self._say("not a whole record, and the next line does not account for it", self._odd_at)
            chain.torn -= 1
            self._lost += 1
        if self._unended:
            self._say("altered: the line feed behind it is gone", self._unended)
        self._odd, self._unended = None, ""
        if document is None:
            self._odd, self._odd_at = line.rstrip(b"\n"), place
            chain.torn += 1
            return
        chain.records += 1
        self._unended = "" if line.endswith(b"\n") else place
        digest = digest_of(line)
        self._found = self._found or digest == self._noted
        if not is_record(document) or not is_whole(line):
            self._without_records()
            self._say("altered: the line does not have the hash that it says", place)
            stated = str(document.get("hash"))
            self._follow(self._number + 1 + self._lost, stated if _HASH.fullmatch(stated) else digest)
            self._unsure = True
        else:
            self._record(place, document["n"], document)

    def _record(self, place: str, number: int, document: dict[str, Any]) -> None:
        chain, expected = self._chain, self._number + 1
        if document["hash"] == chain.head:
            self._say(f"record {number} a second time", place)
            return
        if number < expected:
            self._say(f"record {expected} expected, {number} found: a second time, or not in its place", place)
            return
        missing = number - expected - self._lost
        if self._gone:
            self._without_records(f", with {_records(expected, number)}" if number > expected else "")
        elif missing > 0:
            self._say(f"record {expected + self._lost} expected, {number} found", place)
        if number == expected and document["prev"] != chain.head and not self._unsure:
            self._say("does not follow the record before it", place)
        self._follow(number, document["hash"])

    def _follow(self, number: int, head: str) -> None:
        """Go on from here."""
        self._number, self._chain.head = number, head
        self._lost, self._gone, self._unsure = 0, [], False

    def _without(self, name: str, what: str) -> None:
        self._gone.append(f"{name} {what}")

    def _without_records(self, lost: str = "") -> None:
        for gone in self._gone:
            self._say(gone + lost)

    def _say(self, what: str, place: str = "") -> None:
        name = self._chain.path.name
        self._chain.problems.append(f"{name}/{place}: {what}" if place else f"{name}: {what}")


def _records(first: int, end: int) -> str:
    return f"record {first}" if end - first == 1 else f"records {first} to {end - 1}"


def _accounts_for(document: dict[str, Any] | None, torn: bytes) -> bool:
    return (
        document is not None
        and document.get("kind") == RECOVERED
        and document.get("torn_sha256") == hashlib.sha256(torn).hexdigest()
    )
