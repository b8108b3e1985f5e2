"""What lies on the disk, compared with what would be rendered now and with what the server runs on."""

import difflib
import shlex
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime

from cryptography import x509
from mts1b_platform.disk_room import DiskRoom

from mts1b_deploy.doctor.deviation import Deviation
from mts1b_deploy.layout import Layout
from mts1b_deploy.lifecycle import configured_digest, running_digest
from mts1b_deploy.pki.files import certificates, uris
from mts1b_deploy.pki.store import Pki
from mts1b_deploy.plan.conf import render_conf
from mts1b_deploy.plan.room import room_for
from mts1b_deploy.profiles import profile_named
from mts1b_deploy.record import InstallRecord
from mts1b_deploy.secure import max_file_store
from mts1b_deploy.secured import expected_identities

_LITTLE = 0.1
"""Share of a disk below which it is said to be low."""


def check_configuration(layout: Layout, record: InstallRecord, *, running: bool) -> Iterator[Deviation]:
    """Whether ``nats.conf`` is what the registry, the certificates and the settings give, and the server runs on it."""
    wanted = render_conf(layout, profile_named(record.profile), record).splitlines()
    try:
        held = layout.nats_conf.read_text().splitlines()
    except OSError as error:
        yield Deviation("config-missing", f"{layout.nats_conf}: {error.strerror}", "`mts1b-deploy install` restores it")
        return
    differing = [line for line in difflib.unified_diff(held, wanted, lineterm="", n=0) if line[:1] in "+-"][2:]
    if differing:
        yield Deviation(
            "permission-drift" if record.secure else "config-drift",
            f"{layout.nats_conf} differs in {len(differing)} lines from what permissions and settings are now, first: "
            f"{differing[0].strip()}",
            "`mts1b-deploy plan` shows it, `mts1b-deploy install --overwrite` brings it back (an edit by hand is lost)",
        )
    if running and (on_disk := configured_digest(layout)) != running_digest(record):
        yield Deviation(
            "config-not-loaded",
            f"the server runs on another configuration than {layout.nats_conf}"
            + ("" if on_disk else ", which it would refuse"),
            "`mts1b-deploy restart`",
        )


def check_disk(layout: Layout, record: InstallRecord) -> Iterator[Deviation]:
    """Whether the store's disk has room for what comes, and for what the streams may grow to."""
    kind, share = DiskRoom.of(layout.data).least
    if share < _LITTLE:
        yield Deviation(
            "disk-low",
            f"{share:.0%} of the {kind} are free on the disk of {layout.data}: on a full disk the server stops storing",
            "make room or enlarge it; `mts1b streams ls` shows what the streams take",
        )
    if record.secure and (room := room_for(layout)) < (limit := max_file_store(record.checkouts)):
        yield Deviation(
            "disk-small",
            f"the streams may grow to {limit / 1e9:.1f} GB, and the disk of {layout.data} has room for "
            f"{room / 1e9:.1f} GB",
            "enlarge it; `mts1b streams sizes` shows what each stream may take",
        )


def check_certificates(layout: Layout, now: datetime) -> Iterator[Deviation]:
    """Whether certificates end soon, and keys are for their owner alone."""
    pki = Pki(layout.pki)
    for entry in pki.current():
        if entry.overdue(now):
            ended = entry.state(now) == "expired"
            yield Deviation(
                "certificate-expiry",
                f"the certificate of {entry.name} {'ended' if ended else 'ends'} at {entry.not_after}",
                f"`mts1b-deploy pki rotate {entry.name}`",
            )
    yield from _shut_out(pki)
    for ca in x509.load_pem_x509_certificates(pki.ca.read_bytes()) if pki.exists else ():
        if (ca.not_valid_after_utc - now).days < 90:
            yield Deviation(
                "certificate-expiry",
                f"the authority in {pki.ca} ends at {ca.not_valid_after_utc:%Y-%m-%d}, and every certificate with it",
                "make a new authority and let both be trusted for a while: docs/security.md",
            )
    for path in sorted(layout.pki.rglob("*")) if pki.exists else ():
        if path.is_file() and path.stat().st_mode & 0o077:
            yield Deviation(
                "key-readable", f"{path} can be read by others than its owner", f"`chmod 600 {shlex.quote(str(path))}`"
            )


def _shut_out(pki: Pki) -> Iterator[Deviation]:
    """Whether somebody who belongs on the bus has no certificate that the server would take."""
    for repo, identity in expected_identities(pki).items():
        held, there = pki.find(repo), pki.pem(repo).is_file()
        if held is None or not there:
            revoked = any(each.name == repo for each in pki.entries()) and held is None
            why = "was revoked and not issued anew" if revoked else "is not there"
            yield Deviation(
                "certificate-missing",
                f"the certificate of {repo} {why}: it does not get onto the bus",
                f"`mts1b-deploy pki issue {repo}`, then `mts1b-deploy install`",
            )
            continue
        shown = uris(certificates(pki.pem(repo).read_bytes(), pki.pem(repo))[0])
        if identity not in shown:
            yield Deviation(
                "certificate-missing",
                f"{pki.pem(repo)} names {', '.join(shown) or 'nobody'}, and the server knows {repo} as {identity}: it "
                "does not get onto the bus",
                f"`mts1b-deploy pki rotate {repo}`, then `mts1b-deploy install`",
            )


def check_presented(layout: Layout, record: InstallRecord, certificate: str) -> Iterator[Deviation]:
    """Whether the running server shows the certificate that lies on the disk."""
    pki = Pki(layout.pki)
    held = x509.load_pem_x509_certificates(pki.pem(certificate).read_bytes())[0]
    shown = _presented(record)
    if shown is not None and shown != held:
        yield Deviation(
            "certificate-not-loaded",
            f"the server still shows the certificate that ends at {shown.not_valid_after_utc:%Y-%m-%d %H:%M}, not the "
            "renewed one",
            "`mts1b-deploy restart`",
        )


def _presented(record: InstallRecord) -> x509.Certificate | None:
    """What a client is shown: NATS begins in clear text, TLS follows the server's greeting."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # we look at it, we do not rely on it
    try:
        with socket.create_connection((record.probe_host, record.port), timeout=10) as plain:
            plain.recv(65536)
            with context.wrap_socket(plain) as wrapped:
                shown = wrapped.getpeercert(binary_form=True)
    except OSError:
        return None
    return x509.load_der_x509_certificate(shown) if shown else None


def utc_now(seconds: float) -> datetime:
    """A moment in seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC)
