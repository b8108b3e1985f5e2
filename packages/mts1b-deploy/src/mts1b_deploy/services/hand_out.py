"""Handing certificates out: each system user gets copies of its own, and of nobody else's.

The authority and all keys stay with root. A renewed certificate is handed out by whatever renewed it, as a file that is
replaced whole: a service presents it when it next connects.
"""

import os
import pwd
from collections.abc import Collection
from pathlib import Path

from mts1b_platform.whole_file import write_whole

from mts1b_deploy.errors import PkiError
from mts1b_deploy.layout import Layout
from mts1b_deploy.pki.store import Pki
from mts1b_deploy.record import InstallRecord


def hand_out(layout: Layout, record: InstallRecord, of: Collection[str] | None = None) -> list[str]:
    """Bring copies up to date; the users whose have changed.

    Args:
        layout: where everything lies.
        record: who is handed what.
        of: only those who have the certificate of one of these; everybody when left out.

    Raises:
        PkiError: a certificate or a user is missing.
    """
    wanted = {user: names for user, names in record.handed.items() if of is None or not {*names}.isdisjoint(of)}
    return [user for user, names in wanted.items() if _hand_out(layout, user, names)]


def give(path: Path, user: str) -> None:
    """Make ``path``, and all below it, the user's own."""
    entry = _entry(user)
    for each in (path, *path.rglob("*")):
        os.chown(each, entry.pw_uid, entry.pw_gid, follow_symlinks=False)


def _hand_out(layout: Layout, user: str, names: tuple[str, ...]) -> bool:
    entry, pki, there = _entry(user), Pki(layout.pki), layout.handed(user)
    there.mkdir(parents=True, exist_ok=True)
    wanted = {pki.ca.name: pki.ca, **{f"{name}.pem": pki.pem(name) for name in names}}
    changed = False
    for name, source in wanted.items():
        try:
            content = source.read_bytes()
        except OSError as error:
            raise PkiError(
                f"{source} cannot be handed to {user}: {error.strerror}; `mts1b-deploy pki issue {source.stem}`, "
                "with --host NAME for one that browsers see"
            ) from None
        copy = there / name
        if not copy.exists() or copy.read_bytes() != content:
            write_whole(copy, content, 0o600)
            changed = True
        os.chown(copy, entry.pw_uid, entry.pw_gid)
    for spare in there.iterdir():
        if spare.name not in wanted:
            spare.unlink()
            changed = True
    os.chown(there, entry.pw_uid, entry.pw_gid)
    there.chmod(0o700)
    return changed


def _entry(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise PkiError(f"there is no user {user}: `mts1b-deploy install` makes it") from None
