"""The server's configuration, as it is to be, and whether the server takes it."""

from pathlib import Path

from mts1b_deploy.layout import Layout
from mts1b_deploy.profiles import (
    Profile,
)
from mts1b_deploy.record import InstallRecord
from mts1b_deploy.render import render_minimal, validate_nats_conf
from mts1b_deploy.services.definition import NATS_USER


def render_conf(layout: Layout, profile: Profile, record: InstallRecord, *, certificates: Path | None = None) -> str:
    """The server's configuration for what is, or is to be, installed; ``certificates``: where they are taken from."""
    if not profile.secure:
        return render_minimal(layout, profile, record)
    # Imported here: the permissions come from every package that contributes subjects, which takes its time.
    from mts1b_deploy.secured import render_secured

    return render_secured(layout, profile, record, certificates=certificates)


def validate_conf(layout: Layout, binary: Path, conf: str, record: InstallRecord) -> None:
    """Let the server check it, with stand-ins for certificates that are not made yet.

    Raises:
        DeployError: the server refuses it.
    """

    def beside(directory: Path) -> dict[Path, Path]:
        from mts1b_deploy.secured import stand_in

        stand_in(layout, record, directory / "pki")
        (directory / layout.encryption_key.name).write_text('key: "only to be looked at"\n')
        return dict.fromkeys((layout.pki, layout.handed(NATS_USER)), directory / "pki")

    validate_nats_conf(binary, conf, beside=beside if record.secure else None)
