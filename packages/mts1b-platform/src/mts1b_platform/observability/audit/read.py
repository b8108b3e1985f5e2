"""Reading the audit log: its chains, their lines, and the records that say something of one order."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mts1b_platform.observability.audit.errors import AuditError
from mts1b_platform.observability.audit.line import LONGEST, parse


def chains(directory: Path) -> list[Path]:
    """The directories of the chains under ``directory``.

    Raises:
        AuditError: there is no such directory.
    """
    if not directory.is_dir():
        raise AuditError(f"there is no audit log at {directory}: name its directory, or set MTS1B_AUDIT_DIR")
    return sorted({path.parent for pattern in ("*/*.jsonl", "*/lock") for path in directory.glob(pattern)})


def files(chain: Path) -> list[Path]:
    """The files of a chain, in the order in which they were written."""
    return sorted((path for path in chain.glob("*.jsonl") if path.stem.isdecimal()), key=lambda path: int(path.stem))


def lines(path: Path) -> Iterator[bytes]:
    """Every line of a file; of one that is longer than any record, its beginning.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        while line := file.readline(LONGEST):
            rest = line
            while len(rest) == LONGEST and not rest.endswith(b"\n"):
                rest = file.readline(LONGEST)
            yield line


def search(directory: Path, **wanted: str | None) -> Iterator[dict[str, Any]]:
    """The records whose fields have the values wanted, in the order of their time within each chain.

    ``search(directory, order_id="ord-1")``. Lines that are no records are passed over; ``verify`` names them.

    Raises:
        AuditError: there is no such directory, or a file cannot be read.
    """
    terms = {key: value for key, value in wanted.items() if value is not None}
    for chain in chains(directory):
        for path in files(chain):
            try:
                for line in lines(path):
                    document = parse(line)
                    if (
                        document is not None
                        and {"at", "kind"} <= document.keys()
                        and all(str(document.get(key)) == value for key, value in terms.items())
                    ):
                        yield {"chain": chain.name, **document}
            except OSError as error:
                raise AuditError(f"audit log {path} cannot be read: {error.strerror}") from error
