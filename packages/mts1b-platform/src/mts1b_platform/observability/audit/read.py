"""Reading the audit log: is the chain whole, and what does it say of one order?"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mts1b_platform.observability.audit.errors import AuditError
from mts1b_platform.observability.audit.line import GENESIS, RECOVERED, digest_of, parse


@dataclass(slots=True)
class Chain:
    """What was found in one chain.

    Attributes:
        path: its directory.
        records: whole, chained lines.
        torn: lines cut off by a crash and accounted for, or cut off at the very end.
        problems: where the chain is broken, in words; empty when it is whole.
        head: hash of the last line. Kept elsewhere, it shows later whether lines were cut off from the end.
    """

    path: Path
    records: int = 0
    torn: int = 0
    problems: list[str] = field(default_factory=list[str])
    head: str = GENESIS


def chains(directory: Path) -> list[Path]:
    """The directories of the chains under ``directory``.

    Raises:
        AuditError: there is no such directory.
    """
    if not directory.is_dir():
        raise AuditError(f"there is no audit log at {directory}: name its directory, or set MTS1B_AUDIT_DIR")
    return sorted({path.parent for path in directory.glob("*/*.jsonl")})


def verify(directory: Path, *, heads: dict[str, str] | None = None) -> list[Chain]:
    """Check every chain under ``directory``.

    Args:
        directory: as given to the writers.
        heads: hashes noted earlier, by name of the chain; each must still stand in its chain.

    Raises:
        AuditError: there is no such directory.
    """
    return [_verify(path, (heads or {}).get(path.name)) for path in chains(directory)]


def search(directory: Path, **wanted: str | None) -> Iterator[dict[str, Any]]:
    """The records whose fields have the values wanted, in the order of their time within each chain.

    ``search(directory, order_id="ord-1")``. Lines that are no records are passed over; ``verify`` names them.

    Raises:
        AuditError: there is no such directory.
    """
    terms = {key: value for key, value in wanted.items() if value is not None}
    for chain in chains(directory):
        for _, line in _lines(chain):
            document = parse(line)
            if document is not None and all(str(document.get(key)) == value for key, value in terms.items()):
                yield {"chain": chain.name, **document}


def _lines(chain: Path) -> Iterator[tuple[str, bytes]]:
    """Every line with its place."""
    for path in sorted(chain.glob("[0-9]*.jsonl")):
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                yield f"{chain.name}/{path.name}:{number}", line


def _verify(path: Path, noted: str | None) -> Chain:
    chain = Chain(path)
    number, torn, torn_at = 0, None, ""
    found = noted is None or noted == GENESIS
    for place, line in _lines(path):
        document = parse(line)
        if torn is not None:
            if not _accounts_for(document, torn):
                chain.problems.append(f"{torn_at}: not a whole record, and the next line does not account for it")
            torn = None
        if document is None:
            torn, torn_at = line.rstrip(b"\n"), place
            chain.torn += 1
            continue
        if document.get("hash") != digest_of(line):
            chain.problems.append(f"{place}: altered: the line does not have the hash that it says")
        elif document.get("n") != number + 1:
            chain.problems.append(f"{place}: record {number + 1} expected, {document.get('n')} found")
        elif document.get("prev") != chain.head:
            chain.problems.append(f"{place}: does not follow the record before it")
        number, chain.head = int(document.get("n", number + 1)), str(document.get("hash"))
        chain.records += 1
        found = found or chain.head == noted
    if not found:
        chain.problems.append(
            f"{path.name}: the noted head {noted} is not in the chain: its end was cut off or replaced"
        )
    return chain


def _accounts_for(document: dict[str, Any] | None, torn: bytes) -> bool:
    return (
        document is not None
        and document.get("kind") == RECOVERED
        and document.get("torn_sha256") == hashlib.sha256(torn).hexdigest()
    )
