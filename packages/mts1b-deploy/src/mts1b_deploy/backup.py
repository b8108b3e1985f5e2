"""``mts1b-deploy backup`` and ``restore``: every stream with its consumers, through JetStream's own snapshots.

::

    DIR/backup.json         what is in it, with a fingerprint of each file; written last, so that it means "complete"
    DIR/<stream>.tar.s2     the server's snapshot of one stream

A snapshot is taken while services go on; each stream is consistent in itself, as of the moment when its snapshot began.
Backups hold every event in clear text, also those of an encrypted store: directory 0700, files 0600.
"""

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from mts1b_foundation.errors import Mts1bError
from pydantic import BaseModel, ConfigDict, ValidationError

from mts1b_deploy.errors import BackupError
from mts1b_deploy.layout import Layout
from mts1b_deploy.record import InstallRecord, digest_of, record_of
from mts1b_deploy.streams import apply_streams, connect_as_admin

if TYPE_CHECKING:
    from mts1b_platform.eventbus import EventBus

_CHUNK = 128 * 1024
_DONE = 204
"""The server's status at the end of a snapshot."""
_MANIFEST = "backup.json"
_PATIENCE = 30.0
"""Seconds without a chunk after which a snapshot is given up."""

_COUNTS = ("messages", "first_seq", "last_seq")
_COUNTS_OF_EMPTY = ("messages", "last_seq")


class StreamBackup(BaseModel):
    """One stream in a backup."""

    model_config = ConfigDict(frozen=True)

    name: str
    config: dict[str, Any]
    state: dict[str, Any]
    file: str
    size: int
    sha256: str

    @property
    def messages(self) -> int:
        """How many messages it holds."""
        return int(self.state["messages"])


class Backup(BaseModel):
    """``backup.json``."""

    model_config = ConfigDict(frozen=True)

    taken_at: datetime
    profile: str
    server_version: str
    streams: tuple[StreamBackup, ...]


def backup(layout: Layout, directory: Path) -> Backup:
    """Write every stream of this installation (of the whole cluster) into ``directory``.

    Raises:
        BackupError: the directory is not empty, or the server did not deliver a stream whole.
    """
    record = record_of(layout)
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    if any(directory.iterdir()):
        raise BackupError(f"{directory} is not empty: name a new directory for each backup")
    directory.chmod(0o700)
    return asyncio.run(_backup(layout, record, directory))


def restore(layout: Layout, directory: Path, *, replace: bool = False) -> Backup:
    """Bring every stream of a backup back, with its consumers where they were; then apply the definitions of today.

    Services must not publish meanwhile.

    Raises:
        BackupError: the backup is damaged or incomplete, or a stream has messages that would be lost (``replace``).
    """
    record = record_of(layout)
    found = read_backup(directory)
    asyncio.run(_restore(layout, record, directory, found, replace=replace))
    apply_streams(layout, record)
    return found


def read_backup(directory: Path) -> Backup:
    """What a backup holds, every file compared with its fingerprint.

    Raises:
        BackupError: it is incomplete or damaged.
    """
    try:
        found = Backup.model_validate_json((directory / _MANIFEST).read_bytes())
    except FileNotFoundError:
        raise BackupError(f"{directory} is no complete backup: it has no {_MANIFEST}") from None
    except (OSError, ValidationError) as error:
        raise BackupError(f"{directory / _MANIFEST} cannot be understood: {error}") from error
    for stream in found.streams:
        if digest_of(directory / stream.file) != stream.sha256:
            raise BackupError(
                f"{directory / stream.file} is missing or damaged: use another backup. Nothing was changed"
            )
    return found


async def _backup(layout: Layout, record: InstallRecord, directory: Path) -> Backup:
    async with _admin(layout, record) as bus:
        streams = [await _take(bus, name, directory) for name in await _stream_names(bus)]
    made = Backup(
        taken_at=datetime.now(UTC), profile=record.profile, server_version=record.server_version, streams=tuple(streams)
    )
    with _new_file(directory / _MANIFEST) as file:
        file.write(made.model_dump_json(indent=1).encode() + b"\n")
        _sync(file)
    return made


async def _take(bus: "EventBus", name: str, directory: Path) -> StreamBackup:
    from mts1b_platform.eventbus.jetstream.api import js_api

    path, total, size = directory / f"{name}.tar.s2", hashlib.sha256(), 0
    inbox = bus.new_inbox()
    chunks = await bus.subscribe(inbox)
    try:
        request = {"deliver_subject": inbox, "no_consumers": False, "chunk_size": _CHUNK, "jsck": True}
        begun = await js_api(bus, f"STREAM.SNAPSHOT.{name}", request, timeout=_PATIENCE)
        with _new_file(path) as file:
            while (message := await chunks.next_msg(timeout=_PATIENCE)).data:
                file.write(message.data)
                total.update(message.data)
                size += len(message.data)
                if message.reply:
                    await bus.publish(message.reply, b"")
            _sync(file)
    except TimeoutError:
        raise BackupError(
            f"stream {name}: the server sent nothing more for {_PATIENCE:g} s; take the backup again"
        ) from None
    finally:
        await chunks.unsubscribe()
    if message.headers.status not in (None, _DONE):
        raise BackupError(f"stream {name}: the server gave up its snapshot: {message.headers.description}")
    return StreamBackup(
        name=name, config=begun["config"], state=begun["state"], file=path.name, size=size, sha256=total.hexdigest()
    )


async def _restore(layout: Layout, record: InstallRecord, directory: Path, found: Backup, *, replace: bool) -> None:
    from mts1b_platform.eventbus.jetstream.api import js_api
    from mts1b_platform.eventbus.jetstream.apply_streams import wait_for_jetstream

    async with _admin(layout, record) as bus:
        await wait_for_jetstream(bus)
        there = set(await _stream_names(bus))
        for stream in found.streams if not replace else ():
            if stream.name not in there:
                continue
            if held := (await js_api(bus, f"STREAM.INFO.{stream.name}"))["state"]["messages"]:
                raise BackupError(
                    f"stream {stream.name} holds {held} messages that the restore would delete: take a "
                    "backup of them first, then use --replace. Nothing was changed"
                )
        for stream in found.streams:
            if stream.name in there:
                await js_api(bus, f"STREAM.DELETE.{stream.name}", timeout=_PATIENCE)
            await _put_back(bus, stream, directory, copies=3 if record.clustered else 1)


async def _put_back(bus: "EventBus", stream: StreamBackup, directory: Path, *, copies: int) -> None:
    from mts1b_platform.eventbus.jetstream.api import js_api

    config = {**stream.config, "num_replicas": copies}
    request = {"config": config, "state": stream.state}
    begun = await js_api(bus, f"STREAM.RESTORE.{stream.name}", request, timeout=_PATIENCE)
    for chunk in _chunks(directory / stream.file):
        await bus.request(begun["deliver_subject"], chunk, timeout=_PATIENCE)
    answer = await bus.request(begun["deliver_subject"], b"", timeout=_PATIENCE)
    if b'"error"' in answer.data:
        raise BackupError(f"stream {stream.name}: the server refuses the backup: {answer.data.decode()}")
    state = (await js_api(bus, f"STREAM.INFO.{stream.name}", timeout=_PATIENCE))["state"]
    counts = _COUNTS if stream.messages else _COUNTS_OF_EMPTY
    if differing := [key for key in counts if state.get(key) != stream.state.get(key)]:
        raise BackupError(
            f"stream {stream.name} came back different: "
            + ", ".join(f"{key} {state.get(key)} instead of {stream.state.get(key)}" for key in differing)
        )


@asynccontextmanager
async def _admin(layout: Layout, record: InstallRecord) -> "AsyncGenerator[EventBus]":
    try:
        async with await connect_as_admin(layout, record) as bus:
            yield bus
    except BackupError:
        raise
    except Mts1bError as error:
        raise BackupError(f"{record.url}: {error}") from error


async def _stream_names(bus: "EventBus") -> list[str]:
    from mts1b_platform.eventbus.jetstream.api import js_api

    names: list[str] = []
    while True:
        page = await js_api(bus, "STREAM.NAMES", {"offset": len(names)})
        names += page.get("streams") or []
        if len(names) >= page["total"] or not page.get("streams"):
            return sorted(names)


def _new_file(path: Path) -> BinaryIO:
    """A file that was not there, for its owner alone."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
