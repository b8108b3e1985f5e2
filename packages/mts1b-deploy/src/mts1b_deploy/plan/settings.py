"""Files ``mts1b.toml``, in which the user's edits stay."""

from dataclasses import replace
from pathlib import Path

from mts1b_deploy.layout import Layout
from mts1b_deploy.mts1b_toml import Endpoint, fresh, merged, read_text
from mts1b_deploy.plan.change import Action, FileChange
from mts1b_deploy.record import InstallRecord, digest, digest_of


def settings_file(path: Path, endpoint: Endpoint, before: Endpoint | None) -> tuple[FileChange | None, str | None]:
    """An ``mts1b.toml``: the user's edits stay. The fingerprint is empty when the file may be the user's own."""
    text = read_text(path)
    if text is None:
        content = fresh(endpoint).encode()
        return FileChange(path, "created", content, 0o644, digest(content)), None
    new_text, leads_here = merged(path, text, endpoint, before)
    if not leads_here:
        return None, (
            f"{path} leads to other servers and stays as it is: connect() without arguments uses those. "
            f"For this installation set MTS1B_NATS_URL={endpoint.url}"
            + (f" and MTS1B_TLS_DIR={endpoint.tls_dir}" if endpoint.tls_dir else "")
        )
    content = new_text.encode()
    # A file just as we would write it is what an interrupted install left.
    fingerprint = digest(content) if text == fresh(endpoint) else ""
    action: Action = "unchanged" if new_text == text else "updated"
    return FileChange(path, action, content, 0o644, fingerprint), None


def still_ours(path: Path, change: FileChange, known: str) -> FileChange:
    """Ours while nobody else touched it; otherwise what we wrote once, so that the edit is noticed."""
    return replace(change, fingerprint=digest(change.content) if known == digest_of(path) else known)


def endpoint_of(layout: Layout, record: InstallRecord) -> Endpoint:
    """What such a file says of an installation."""
    tls_dir = str(layout.pki) if record.secure else None
    return Endpoint(
        record.profile,
        record.url,
        record.monitor,
        others=record.urls[1:],
        tls_dir=tls_dir,
        people=record.people_urls,
        checkouts=tuple(map(str, record.checkouts)),
        stop_file=str(layout.stop_file),
        disks=(str(layout.data),),
        edge=record.site if record.hubs else None,
    )
