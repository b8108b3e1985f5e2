"""Whether the disk has room for what the streams may grow to."""

from collections.abc import Iterator
from contextlib import suppress

from mts1b_platform.disk_room import DiskRoom

from mts1b_deploy.layout import Layout
from mts1b_deploy.record import InstallRecord

_BLOCK = 512
"""Bytes that ``st_blocks`` counts in."""


def room_notes(layout: Layout, record: InstallRecord) -> Iterator[str]:
    """A note when the streams may outgrow the disk."""
    if not record.secure:
        return
    from mts1b_deploy.secure import max_file_store

    limit, room = max_file_store(record.checkouts), room_for(layout)
    if room < limit:
        yield (
            f"the streams may grow to {limit / 1e9:.1f} GB, and the disk of {layout.data} has room for "
            f"{room / 1e9:.1f} GB: enlarge it in time; `mts1b streams sizes` shows what each may take"
        )


def room_for(layout: Layout) -> int:
    """Bytes that the store may take on its disk: what is free there and what it has already."""
    there = next(path for path in (layout.store, *layout.store.parents) if path.exists())
    taken = 0
    for path in layout.store.rglob("*"):
        with suppress(OSError):  # the server has removed it meanwhile
            taken += path.stat().st_blocks * _BLOCK
    return DiskRoom.of(there).bytes + taken
