"""Whether streams stand behind where they stood: their host was rolled back, they were restored, or made anew."""

import os
from collections.abc import Iterator
from pathlib import Path

from mts1b_platform.logs import get_logger
from mts1b_platform.whole_file import write_whole
from pydantic import BaseModel, ConfigDict, ValidationError

from mts1b_operations.monitor.reading import Reading, Watch
from mts1b_operations.monitor.survey import Survey

log = get_logger("mts1b.monitor")

_FILE = "streams.json"
_SHOWN = 3


class _Stand(BaseModel):
    """Where a stream stood at the last look, and what has gone from it."""

    model_config = ConfigDict(extra="forbid")

    last_seq: int
    gone: int = 0
    """Events that were stored and are not there any more, until somebody has acknowledged that."""


class _Memory(BaseModel):
    model_config = ConfigDict(extra="forbid")

    streams: dict[str, _Stand] = {}


class Rollbacks:
    """Compares where each stream stands with where it stood.

    Streams that are kept in memory are left out, and mirrors: what they copy may be ahead of them.
    A stream that stands behind at two looks, one after the other, was set back: a replica that has just begun to lead
    may stand behind for a moment.

    Args:
        file: where it is remembered over a restart. None: only while the process runs.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._stands = _read(file).streams if file is not None else {}
        self._written = b""
        """What the file holds; it is written when that changes."""
        self._suspected: set[str] = set()
        self._forgetful = False
        """Whether the file could not be written; said once."""

    def read(self, seen: Survey, *, acknowledged: bool = False) -> Iterator[Reading]:
        """One reading: how many events have gone from all streams.

        Args:
            seen: the server's state.
            acknowledged: somebody knows of what has gone so far; it is forgotten.
        """
        if acknowledged:
            for stand in self._stands.values():
                stand.gone = 0
        for name, info in seen.streams.items():
            config = info["config"]
            if config.get("storage") != "memory" and not config.get("mirror"):
                self._compare(name, int(info["state"]["last_seq"]))
        if self._file is not None:
            self._write(self._file)
        gone = {name: stand.gone for name, stand in self._stands.items() if stand.gone}
        most = sorted(gone, key=lambda name: gone[name], reverse=True)
        some = ", ".join(f"{name} ({gone[name]})" for name in most[:_SHOWN])
        more = f" and {len(most) - _SHOWN} more" if len(most) > _SHOWN else ""
        yield Reading(
            Watch.ROLLED_BACK,
            "streams",
            float(sum(gone.values())),
            f"events that were stored are gone from {some}{more}: the bus was rolled back, restored or made anew; "
            "compare the books before trading goes on, then acknowledge this"
            if gone
            else "no stream stands behind where it stood",
        )

    def _write(self, file: Path) -> None:
        memory = _Memory(streams=self._stands).model_dump_json().encode()
        if memory == self._written:
            return
        try:
            write_whole(file, memory, 0o644, sync=False)
        except OSError as error:
            if not self._forgetful:
                log.warning("where streams stand is not remembered over a restart", file=str(file), error=str(error))
            self._forgetful = True
        else:
            self._written, self._forgetful = memory, False

    def _compare(self, name: str, last: int) -> None:
        stand = self._stands.setdefault(name, _Stand(last_seq=last))
        if last >= stand.last_seq:
            self._suspected.discard(name)
            stand.last_seq = last
        elif name not in self._suspected:
            self._suspected.add(name)
        else:
            self._suspected.discard(name)
            log.error("a stream was set back", stream=name, stood=stand.last_seq, stands=last)
            stand.gone += stand.last_seq - last
            stand.last_seq = last


def file_of(asked: Path | None) -> Path | None:
    """Where a monitor remembers: what was asked for, or the directory that systemd gives a service; None: nowhere."""
    directory = os.environ.get("STATE_DIRECTORY")
    return asked or (Path(directory) / _FILE if directory else None)


def _read(file: Path) -> _Memory:
    try:
        return _Memory.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return _Memory()
    except (OSError, ValidationError) as error:
        log.warning("where streams stood is not known; it is noted anew", file=str(file), error=str(error))
        return _Memory()
