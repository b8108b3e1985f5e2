"""The configuration of a locked-down server, as text: profile single, and the pieces that a cluster member shares.

Pure: settings and permissions in, text out. ``validate_nats_conf`` lets the real server judge it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mts1b_foundation.subjects.algebra import contains
from mts1b_platform.eventbus.declared import declared

from mts1b_deploy.errors import ConfigFileError
from mts1b_deploy.permissions import ACT, ADMIN, APART, AUTH, LOOK, SYSTEM, Permissions, all_permissions
from mts1b_deploy.pki.store import Pki, identity_of
from mts1b_deploy.render import template_environment


@dataclass(frozen=True, slots=True, kw_only=True)
class Callout:
    """The public keys of the auth callout: who signs admissions, and to whom requests are encrypted."""

    issuer: str
    xkey: str

    @classmethod
    def read(cls, path: Path) -> "Callout | None":
        """The keys in ``callout.json``, as `mts1b auth init` writes it; None when there is no such file.

        Raises:
            ConfigFileError: it is something else.
        """
        try:
            found = json.loads(path.read_bytes())
            return cls(issuer=found["issuer"], xkey=found["xkey"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigFileError(f"{path} is no callout.json ({error}): `mts1b auth init` writes one") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class SecureSettings:
    """What a locked-down server's configuration says beyond permissions. Addresses are ``host:port``."""

    server_name: str
    listen: str
    monitor: str
    pid_file: Path
    log_file: Path
    store_dir: Path
    tls_ca: Path
    """Whom the server trusts to sign services."""
    tls_pem: Path
    """Key and certificate of the server in one file."""
    websocket: str | None = None
    """Where people connect; None: nowhere."""
    websocket_pem: Path | None = None
    """Key and certificate that people see, when another than ``tls_pem``: browsers want a well-known authority."""
    callout: Callout | None = None
    """Without it nobody gets in by a token."""
    encryption_key_file: Path | None = None
    """A file with one line, ``key: "…"``, with which what is stored is encrypted."""
    checkouts: tuple[Path, ...] = ()
    """Checkouts that count as declared."""


def secure_values(
    settings: SecureSettings,
    identities: Mapping[str, str],
    permissions: Mapping[str, Permissions] | None = None,
) -> dict[str, Any]:
    """The values that ``tls``, ``websocket``, ``jetstream`` and ``accounts.conf.j2`` are rendered from.

    Args:
        settings: addresses and files.
        identities: by repo, the identity in its certificate (``Pki.identities()``). A service without one has no
            user, so that nobody gets in by its name.
        permissions: as they follow from what is declared, when left out.
    """
    granted = all_permissions(declared(settings.checkouts).sources) if permissions is None else permissions
    services = [
        {
            "repo": repo,
            "user": identities[repo],
            "publish": each.publish,
            "deny": each.deny,
            "subscribe": each.subscribe,
        }
        for repo, each in sorted(granted.items())
        if repo in identities
    ]
    callout = settings.callout
    return {
        "server_name": settings.server_name,
        "listen": settings.listen,
        "monitor": settings.monitor,
        "pid_file": settings.pid_file,
        "log_file": settings.log_file,
        "store_dir": settings.store_dir,
        "tls_ca": settings.tls_ca,
        "tls_pem": settings.tls_pem,
        "websocket": settings.websocket,
        "websocket_pem": settings.websocket_pem or settings.tls_pem,
        "callout": callout
        and {"issuer": callout.issuer, "xkey": callout.xkey, "user": identities.get(AUTH, identity_of(AUTH))},
        "encryption_key_file": settings.encryption_key_file,
        "max_file_store": max_file_store(settings.checkouts),
        "services": services,
        "domain": None,
        "leaf_listen": None,
        "leaf_remotes": [],
        "leaf_users": [],
        "system_user": identities.get(SYSTEM),
        "responders": [
            {"repo": repo, "user": identities[repo], "answers": answers}
            for repo, answers in ((LOOK, "look.v1.>"), (ACT, "act.v1.>"))
            if repo in identities
        ],
        "history": [
            each.name
            for each in declared(settings.checkouts).streams
            if all(contains("mts.>", subject) for subject in each.subjects)
        ],
    }


def max_file_store(checkouts: Sequence[Path] = ()) -> int:
    """Bytes that all declared streams may take together, and a quarter more for buckets and what is made by hand."""
    return sum(each.max_bytes for each in declared(checkouts).streams if each.storage == "file") * 5 // 4


def render_single(
    settings: SecureSettings,
    identities: Mapping[str, str],
    permissions: Mapping[str, Permissions] | None = None,
) -> str:
    """The configuration of profile ``single``; arguments as for :func:`secure_values`."""
    values = secure_values(settings, identities, permissions)
    return (
        template_environment()
        .get_template("single.conf.j2")
        .render(template="mts1b_deploy/nats/single.conf.j2", **values)
    )


def issue_missing(pki: Pki, hosts: list[str], checkouts: Sequence[Path] = ()) -> list[str]:
    """Certificates for the server and for everybody that is declared; the names of those that are new.

    What is good stays as it is.
    """
    before = {each.name: each.serial for each in pki.current()}
    pki.issue("server", hosts=hosts)
    for repo in (*all_permissions(declared(checkouts).sources), *APART):
        pki.issue(repo)
    return [each.name for each in pki.current() if before.get(each.name) != each.serial]


__all__ = [
    "ADMIN",
    "SYSTEM",
    "Callout",
    "SecureSettings",
    "issue_missing",
    "max_file_store",
    "render_single",
    "secure_values",
]
