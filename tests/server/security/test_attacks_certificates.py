"""Attack table, first part: getting in as somebody one is not. Each attempt is refused, and the server logs it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import nats
import nats.errors
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID
from locked_server import Locked
from mts1b_deploy.pki import certificates as make
from mts1b_deploy.pki.files import authority
from mts1b_deploy.pki.store import Pki, identity_of
from mts1b_platform.eventbus import AccessDenied, ServerUnavailable, connect

OMS = identity_of("mts1b-oms")


def signer(pki: Pki) -> make.Signer:
    found = authority(pki.ca.read_bytes(), pki.ca_key.read_bytes(), pki.ca)
    assert found is not None
    return found


def pem(path: Path, by: make.Signer, identity: str, *, lifetime: timedelta = timedelta(hours=1)) -> Path:
    key = make.new_key()
    certificate = make.certify(by, key, "stolen", make.client_names(identity), server=False, lifetime=lifetime)
    path.write_bytes(make.private_pem(key) + make.certificate_pem(certificate))
    return path


def foreign_authority(locked: Locked, path: Path) -> Path:
    del locked
    return pem(path, make.new_authority("Somebody else", timedelta(days=1)), OMS)


def expired(locked: Locked, path: Path) -> Path:
    return pem(path, signer(locked.pki), OMS, lifetime=timedelta(seconds=-60))


def wrong_use(locked: Locked, path: Path) -> Path:
    """Good for servers only: what somebody has who broke into a web server of the same authority."""
    by, key, now = signer(locked.pki), make.new_key(), datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(by.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(make.client_names(OMS), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(by.key, hashes.SHA256())
    )
    path.write_bytes(make.private_pem(key) + make.certificate_pem(certificate))
    return path


def unmapped(locked: Locked, path: Path) -> Path:
    return pem(path, signer(locked.pki), "spiffe://mts1b/mts1b-stranger")


def nobody(locked: Locked, path: Path) -> None:
    del locked, path


ATTACKS: list[tuple[Callable[[Locked, Path], Path | None], str]] = [
    (nobody, "client didn't provide a certificate"),
    (foreign_authority, "certificate signed by unknown authority"),
    (expired, "certificate has expired"),
    (wrong_use, "certificate specifies an incompatible key usage"),
    (unmapped, "authentication error"),
]


@pytest.mark.parametrize(("attack", "logged"), ATTACKS, ids=[attack.__name__ for attack, _ in ATTACKS])
async def test_a_certificate_that_is_not_a_services_lets_nobody_in(
    attack: Callable[[Locked, Path], Path | None], logged: str, locked: Locked, tmp_path: Path
):
    presented = attack(locked, tmp_path / "attack.pem")
    with pytest.raises(AccessDenied, match="refuses this identity"):
        await connect(
            locked.url, service="mts1b-oms", tls_ca=locked.pki.ca, tls_cert=presented, config=locked.bare_config()
        )
    await locked.logged(logged)


@pytest.mark.parametrize("repo", ["mts1b-research", None])
async def test_a_name_and_password_sent_along_change_nothing(repo: str | None, locked: Locked, tmp_path: Path):
    stolen = locked.pki.pem(repo) if repo else unmapped(locked, tmp_path / "unmapped.pem")
    options = {"user": OMS, "password": "", "allow_reconnect": False, "connect_timeout": 20}
    if repo is None:
        with pytest.raises((nats.errors.Error, OSError)):
            await nats.connect(locked.url, tls=locked.context(stolen), **options)
        await locked.logged("authentication error")
        return
    client = await locked.raw(repo, user=OMS, password="")
    await client.publish("mts.v1.oms.orders.created", b"{}")
    await client.flush()
    await locked.logged(
        '"MTS/user:spiffe://mts1b/mts1b-research" - Publish Violation - Subject "mts.v1.oms.orders.created"'
    )


async def test_a_server_with_a_foreign_certificate_is_not_talked_to(locked: Locked, tmp_path: Path):
    other = Pki(tmp_path / "other")
    other.init()
    with pytest.raises(ServerUnavailable, match=r"not to be trusted.*MTS1B_TLS_CA"):
        await connect(
            locked.url,
            service="mts1b-oms",
            tls_ca=other.ca,
            tls_cert=locked.pki.pem("mts1b-oms"),
            config=locked.bare_config(),
            connect_timeout=3,  # it tries for as long
        )


async def test_a_revoked_certificate_is_unknown_after_a_reload_and_its_successor_is_not(locked: Locked):
    stolen = locked.pki.pem("mts1b-oms").read_bytes()
    before = await locked.raw("mts1b-oms")
    locked.pki.revoke("mts1b-oms")
    assert locked.pki.issue("mts1b-oms").identity == identity_of("mts1b-oms", 2)
    locked.render()
    await locked.reload()
    thief = locked.conf.with_name("thief.pem")
    thief.write_bytes(stolen)
    with pytest.raises(AccessDenied):
        await connect(
            locked.url, service="mts1b-oms", tls_ca=locked.pki.ca, tls_cert=thief, config=locked.bare_config()
        )
    assert (await locked.bus("mts1b-oms")).is_connected
    await locked.until(lambda: before.is_closed)
