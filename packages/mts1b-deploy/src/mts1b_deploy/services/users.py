"""Which system users an installation has: one for the server, one for each service."""

import os
from pathlib import Path

from mts1b_deploy.errors import UnknownName
from mts1b_deploy.layout import Layout
from mts1b_deploy.leaf.connection import own_certificate
from mts1b_deploy.nodes import peer_named
from mts1b_deploy.record import InstallRecord
from mts1b_deploy.services.definition import NATS_USER, Services, certificates_of, user_of


def with_users(layout: Layout, record: InstallRecord, file: Path | None) -> tuple[InstallRecord, Services | None]:
    """The record with the users of this host, and its services: from ``file``, else as installed before.

    Where the machine's systemd runs the server it has a user of its own, if that can get into the prefix.

    Raises:
        UnknownName: services were asked for where they cannot be.
        ConfigFileError: the file cannot be read.
    """
    as_units = record.supervisor == "systemd-system" and record.secure
    if file is not None and not as_units:
        raise UnknownName(
            "--services: units of the machine need profile single or production, and root under systemd "
            "(--supervisor systemd-system)"
        )
    if file is not None and not open_to_others(layout.prefix):
        raise UnknownName(
            f"--services: other users than root do not get into {layout.prefix}; choose --prefix /var/lib/mts1b"
        )
    if not as_units or not open_to_others(layout.prefix):
        return record, None
    source = file or (layout.services if layout.services.exists() else None)
    services = Services.read(source, venv=record.release) if source is not None else None
    if services is not None and not open_to_others(python := (services.venv / "bin" / "python").resolve()):
        raise UnknownName(
            f"other users than root do not get to {python}, which services run: make the environment `venv` of a "
            "Python that everybody may run, such as /usr/bin/python3"
        )
    certificate = peer_named(record.node, record.nodes).certificate if record.clustered else own_certificate(record)
    handed: dict[str, tuple[str, ...]] = {NATS_USER: (certificate,)}
    for name, service in services.services.items() if services else ():
        handed[user_of(name)] = certificates_of(name, service)
    names = tuple(services.services) if services else ()
    timers = tuple(services.timers) if services else ()
    return record.model_copy(update={"handed": handed, "services": names, "timers": timers}), services


def open_to_others(path: Path) -> bool:
    """Whether every user gets into ``path``, or will once it is made."""
    return all(each.stat().st_mode & 0o001 for each in (path, *path.parents) if each.exists()) and os.name == "posix"
