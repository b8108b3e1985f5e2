"""What a locked-down installation adds: certificates, an encryption key, and the configuration that names them."""

import secrets
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from mts1b_platform.eventbus.declared import declared
from mts1b_platform.whole_file import write_whole

from mts1b_deploy.errors import PkiError
from mts1b_deploy.journal import Journal, remove_tree
from mts1b_deploy.layout import Layout
from mts1b_deploy.leaf.connection import certificate_of, leaf_name, leaf_values, own_certificate
from mts1b_deploy.nodes import Peer, address, peer_named
from mts1b_deploy.permissions import APART, all_permissions
from mts1b_deploy.pki.files import directory
from mts1b_deploy.pki.store import Pki, identity_of
from mts1b_deploy.profiles import LOOPBACK, Profile
from mts1b_deploy.record import InstallRecord, places
from mts1b_deploy.render import template_environment
from mts1b_deploy.secure import Callout, SecureSettings, issue_missing, secure_values
from mts1b_deploy.services.definition import NATS_USER

ROUTE_NAME = "route.mts1b.internal"
"""A name that only certificates of nodes carry: whoever shows it may join the cluster."""

CLUSTER_NAME = "mts1b"


def server_certificate(record: InstallRecord) -> str:
    """Under which name the server's certificate is kept."""
    if record.clustered:
        return _here(record).certificate
    return own_certificate(record)


def settings_of(layout: Layout, record: InstallRecord) -> SecureSettings:
    """What the configuration says beyond permissions."""
    place = layout.handed(NATS_USER) if NATS_USER in record.handed else layout.pki
    return SecureSettings(
        server_name=record.server_name(layout),
        listen=address(record.listen_host, record.port),
        monitor=f"{LOOPBACK}:{record.monitor_port}",
        pid_file=layout.nats_pid,
        log_file=layout.nats_log,
        store_dir=layout.store,
        tls_ca=Pki(place).ca,
        tls_pem=Pki(place).pem(server_certificate(record)),
        websocket=address(record.listen_host, record.websocket_port) if record.websocket_port else None,
        callout=Callout.read(layout.callout),
        # Relative: the server looks beside the file that names it, whatever is written.
        encryption_key_file=Path(layout.encryption_key.name) if record.encrypted else None,
        checkouts=record.checkouts,
    )


def render_secured(layout: Layout, profile: Profile, record: InstallRecord, *, certificates: Path | None = None) -> str:
    """The configuration of a node, with the certificates that it has or will have."""
    settings = settings_of(layout, record)
    values = secure_values(settings, expected_identities(Pki(certificates or layout.pki), record.checkouts))
    if record.site:
        values |= leaf_values(record, pem=str(settings.tls_pem), ca=str(settings.tls_ca))
    if record.clustered:
        values |= cluster_values(record)
    template = f"mts1b_deploy/nats/{profile.template}"
    return template_environment().get_template(profile.template).render(template=template, **values)


def expected_identities(pki: Pki, checkouts: Sequence[Path] = ()) -> dict[str, str]:
    """By repo, the identity that it has once every missing certificate was made."""
    found: dict[str, str] = {}
    entries = pki.entries()
    for repo in (*all_permissions(declared(checkouts).sources), *APART):
        held = pki.find(repo)
        spent = [each.generation for each in entries if each.name == repo]
        found[repo] = held.identity if held else identity_of(repo, max(spent, default=0) + 1)
    return found


def take_certificates(layout: Layout, source: Path, journal: Journal) -> list[str]:
    """Bring certificates that another node made, all but the authority's key; the names of those that are new.

    Raises:
        PkiError: there is no authority's certificate in ``source``, or another authority is here already.
    """
    given, pki = Pki(source), Pki(layout.pki)
    if source.resolve() == layout.pki.resolve():
        return []
    if not given.exists:
        raise PkiError(f"{source} has no ca.crt: copy the directory etc/pki from the node that made the certificates")
    if pki.exists and pki.ca.read_bytes() != given.ca.read_bytes():
        raise PkiError(f"{layout.pki} has another authority than {source}: move it away to take that one")
    if not pki.exists:
        journal.on_rollback(lambda: remove_tree(layout.pki))
    directory(layout.pki)
    directory(pki.register.parent)
    new: list[str] = []
    for path in (*sorted(source.glob("*.pem")), given.register, given.ca):  # the last one makes it exist
        there = layout.pki / path.relative_to(source)
        if path.exists() and (not there.exists() or there.read_bytes() != path.read_bytes()):
            write_whole(there, path.read_bytes())
            new += [path.stem] if path.suffix == ".pem" else []
    return new


def make_certificates(layout: Layout, record: InstallRecord, journal: Journal) -> list[str]:
    """Authority, server and services: what is missing is made; the names of those that are new.

    Raises:
        PkiError: this host cannot sign (its authority is elsewhere) and certificates are missing.
    """
    pki = Pki(layout.pki)
    if not pki.exists:
        journal.make_directory(layout.pki.parent)
        journal.on_rollback(lambda: remove_tree(layout.pki))
        pki.init()
    if not pki.ca_key.is_file():
        _all_there(pki, record)
        return []
    before = {each.name: each.serial for each in pki.current()}
    issue_all(pki, record.nodes, record.names, record.checkouts)
    for site in {each.name: each for each in (*places(record.sites), *places(record.edges))}.values():
        pki.issue(certificate_of(site.name), hosts=_names_of_site(site, record))
    return [each.name for each in pki.current() if before.get(each.name) != each.serial]


def issue_all(pki: Pki, nodes: Iterable[Peer], names: Iterable[str], checkouts: Sequence[Path] = ()) -> None:
    """Certificates of every node, and of every service; what is good stays as it is."""
    for peer in nodes:
        pki.issue(peer.certificate, hosts=_names(peer))
    issue_missing(pki, list(names), checkouts)


def make_encryption_key(layout: Layout, record: InstallRecord, journal: Journal) -> None:
    """A key of its own for this store; the one that is there stays, as the store cannot be read without it."""
    if record.encrypted and not layout.encryption_key.exists():
        journal.write(layout.encryption_key, f'key: "{secrets.token_hex(32)}"\n'.encode(), 0o600)


def stand_in(layout: Layout, record: InstallRecord, directory: Path) -> None:
    """Make, below ``directory``, what the configuration names and an install has not made yet.

    With it the real server can check a configuration before anything is written.
    """
    if layout.pki.is_dir():
        shutil.copytree(layout.pki, directory, ignore=shutil.ignore_patterns("authority"))
    pki, name = Pki(directory), server_certificate(record)
    if not pki.exists or not pki.pem(name).is_file():
        spare = Pki(directory / "spare")
        spare.init()
        spare.issue(name, hosts=[*record.names, ROUTE_NAME])
        shutil.copy(spare.ca, pki.ca)
        shutil.copy(spare.pem(name), pki.pem(name))


def _all_there(pki: Pki, record: InstallRecord) -> None:
    needed = [server_certificate(record), *all_permissions(declared(record.checkouts).sources), *APART]
    if missing := [name for name in needed if not pki.pem(name).is_file()]:
        raise PkiError(
            f"{pki.directory} has no certificate of {', '.join(missing)} and no key to make one: copy them from the "
            "node that made the authority (--pki DIR), where `mts1b-deploy pki issue` makes those that it lacks"
        )


def _here(record: InstallRecord) -> Peer:
    return peer_named(record.node, record.nodes)


def _names_of_site(site: Peer, record: InstallRecord) -> list[str]:
    own = record.names if site.name == record.site else ()
    return [*dict.fromkeys((site.host, *own, LOOPBACK, "localhost")), leaf_name(site.name)]


def _names(peer: Peer) -> list[str]:
    return [*dict.fromkeys((peer.host, LOOPBACK, "localhost")), ROUTE_NAME]


def cluster_values(record: InstallRecord) -> dict[str, object]:
    """The values that only a cluster member is rendered from."""
    here = _here(record)
    return {
        "cluster_name": CLUSTER_NAME,
        "cluster_listen": address(record.host, here.cluster_port),
        "cluster_advertise": address(here.host, here.cluster_port),
        "client_advertise": address(record.public_host, record.port),
        "routes": [
            f"tls://{address(peer.host, peer.cluster_port)}" for peer in record.nodes if peer.name != record.node
        ],
        "route_name": ROUTE_NAME,
    }
