"""Streams with their consumers, through JetStream's own snapshots.

A snapshot is taken while services go on; each stream is consistent in itself, as of the moment when its snapshot began.
"""

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from mts1b_foundation.errors import Mts1bError

from mts1b_deploy.backup.manifest import Backup, StreamBackup
from mts1b_deploy.backup.part import Identity, Recipient, new_part, open_part
from mts1b_deploy.errors import BackupError
from mts1b_deploy.layout import Layout
from mts1b_deploy.record import InstallRecord
from mts1b_deploy.streams import connect_as_admin

if TYPE_CHECKING:
    from mts1b_platform.eventbus import EventBus

_CHUNK = 128 * 1024
_DONE = 204
"""The server's status at the end of a snapshot."""
PATIENCE = 30.0
"""Seconds without an answer after which a stream is given up."""

_COUNTS = ("messages", "first_seq", "last_seq")
_COUNTS_OF_EMPTY = ("messages", "last_seq")


def ensure_no_mirror(record: InstallRecord, instead: str) -> None:
    """Make sure that the streams here are this site's own.

    A copy has no durables, and no state of services beside it: what those positions and that state say of it is at the
    other site. A stream restored here would be one that the other site knows nothing of.

    Args:
        record: the installation.
        instead: what is to be said; ``{other}`` in it is the other site.

    Raises:
        BackupError: they are copies of another site's.
    """
    if record.mirrors:
        said = instead.format(other=record.mirrors)
        raise BackupError(
            f"site {record.site} is a mirror of site {record.mirrors} and {said}, or `mts1b-deploy promote` this one "
            "first. Nothing was changed"
        )


@asynccontextmanager
async def administration(layout: Layout, record: InstallRecord) -> "AsyncGenerator[EventBus]":
    """A connection that may manage streams.

    Raises:
        BackupError: the server cannot be reached, or refuses something.
    """
    try:
        async with await connect_as_admin(layout, record) as bus:
            yield bus
    except BackupError:
        raise
    except Mts1bError as error:
        raise BackupError(f"{record.url}: {error}") from error


async def stream_names(bus: "EventBus") -> list[str]:
    """Every stream of the account, those of key-value buckets too."""
    from mts1b_platform.eventbus.jetstream.api import js_api

    names: list[str] = []
    while True:
        page = await js_api(bus, "STREAM.NAMES", {"offset": len(names)})
        names += page.get("streams") or []
        if len(names) >= page["total"] or not page.get("streams"):
            return sorted(names)


async def take_stream(bus: "EventBus", name: str, directory: Path, recipients: Sequence[Recipient]) -> StreamBackup:
    """Write a snapshot of one stream into ``directory``.

    Raises:
        BackupError: the server did not deliver it whole.
    """
    from mts1b_platform.eventbus.jetstream.api import js_api

    inbox = bus.new_inbox()
    chunks = await bus.subscribe(inbox)
    try:
        request = {"deliver_subject": inbox, "no_consumers": False, "chunk_size": _CHUNK, "jsck": True}
        begun = await js_api(bus, f"STREAM.SNAPSHOT.{name}", request, timeout=PATIENCE)
        with new_part(directory / f"{name}.tar.s2", recipients) as (file, part):
            while (message := await chunks.next_msg(timeout=PATIENCE)).data:
                file.write(message.data)
                if message.reply:
                    await bus.publish(message.reply, b"")
            if message.headers.status not in (None, _DONE):
                raise BackupError(f"stream {name}: the server gave up its snapshot: {message.headers.description}")
    except TimeoutError:
        raise BackupError(
            f"stream {name}: the server sent nothing more for {PATIENCE:g} s; take the backup again"
        ) from None
    finally:
        await chunks.unsubscribe()
    return StreamBackup(
        name=name,
        config=begun["config"],
        state=begun["state"],
        file=part.path.name,
        size=part.size,
        sha256=part.sha256,
    )


async def put_streams_back(
    bus: "EventBus", found: Backup, directory: Path, identities: Sequence[Identity], *, copies: int, replace: bool
) -> None:
    """Make every stream what it was.

    Raises:
        BackupError: a stream holds messages that would be deleted (``replace``), or the server refuses the backup.
    """
    from mts1b_platform.eventbus.jetstream.api import js_api
    from mts1b_platform.eventbus.jetstream.apply_streams import wait_for_jetstream

    await wait_for_jetstream(bus)
    there = set(await stream_names(bus))
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
            await js_api(bus, f"STREAM.DELETE.{stream.name}", timeout=PATIENCE)
        with open_part(directory / stream.file, identities) as file:
            await _put_back(bus, stream, file, copies=copies)


async def _put_back(bus: "EventBus", stream: StreamBackup, file: BinaryIO, *, copies: int) -> None:
    from mts1b_platform.eventbus.jetstream.api import js_api

    config = {**stream.config, "num_replicas": copies}
    request = {"config": config, "state": stream.state}
    begun = await js_api(bus, f"STREAM.RESTORE.{stream.name}", request, timeout=PATIENCE)
    for chunk in _chunks(file):
        await bus.request(begun["deliver_subject"], chunk, timeout=PATIENCE)
    answer = await bus.request(begun["deliver_subject"], b"", timeout=PATIENCE)
    if b'"error"' in answer.data:
        raise BackupError(f"stream {stream.name}: the server refuses the backup: {answer.data.decode()}")
    state = (await js_api(bus, f"STREAM.INFO.{stream.name}", timeout=PATIENCE))["state"]
    counts = _COUNTS if stream.messages else _COUNTS_OF_EMPTY
    if differing := [key for key in counts if state.get(key) != stream.state.get(key)]:
        raise BackupError(
            f"stream {stream.name} came back different: "
            + ", ".join(f"{key} {state.get(key)} instead of {stream.state.get(key)}" for key in differing)
        )


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk
