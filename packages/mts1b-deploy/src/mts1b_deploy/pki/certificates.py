"""Making certificates: pure functions over keys and names, no files.

Elliptic curve keys (P-256) throughout: every TLS stack that speaks NATS takes them, and they are made in a
millisecond, so that certificates can be short-lived. A certificate begins five minutes before it is made, for peers
whose clocks are behind.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_SKEW = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs: a certificate that may, and its key."""

    certificate: x509.Certificate
    key: CertificateIssuerPrivateKeyTypes


def new_key() -> ec.EllipticCurvePrivateKey:
    """A fresh private key."""
    return ec.generate_private_key(ec.SECP256R1())


def new_authority(name: str, lifetime: timedelta) -> Signer:
    """A self-signed authority that may sign certificates of peers, and no further authorities."""
    key, now = new_key(), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Signer(certificate, key)


def client_names(identity: str) -> x509.SubjectAlternativeName:
    """The names of a service: its identity alone, which the server maps to a user."""
    return x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity)])


def server_names(hosts: Sequence[str]) -> x509.SubjectAlternativeName:
    """The names of a server: addresses and host names that clients dial."""
    return x509.SubjectAlternativeName([_host(host) for host in hosts])


def request(
    key: ec.EllipticCurvePrivateKey, common_name: str, names: x509.SubjectAlternativeName, *, server: bool
) -> x509.CertificateSigningRequest:
    """A request for somebody else's authority, with every extension that the certificate must have."""
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(_subject(common_name))
        .add_extension(names, critical=False)
        .add_extension(_usage(server=server), critical=False)
        .sign(key, hashes.SHA256())
    )


def certify(
    signer: Signer,
    key: ec.EllipticCurvePrivateKey,
    common_name: str,
    names: x509.SubjectAlternativeName,
    *,
    server: bool,
    lifetime: timedelta,
) -> x509.Certificate:
    """A certificate for ``key``, never longer valid than the signer's own.

    Services get client authentication only, so that a stolen service key cannot play the server; servers get both,
    as cluster members dial each other.
    """
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_subject(common_name))
        .issuer_name(signer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(max(now - _SKEW, signer.certificate.not_valid_before_utc))
        .not_valid_after(min(now + lifetime, signer.certificate.not_valid_after_utc))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs=False), critical=True)
        .add_extension(_usage(server=server), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.certificate.public_key()),  # pyright: ignore[reportArgumentType]
            critical=False,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(signer.key, None if _signs_without_digest(signer) else hashes.SHA256())
    )


def private_pem(key: CertificateIssuerPrivateKeyTypes) -> bytes:
    """The key as PEM, unencrypted: its file is for its owner alone."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def request_pem(asked: x509.CertificateSigningRequest) -> bytes:
    """The request as PEM."""
    return asked.public_bytes(serialization.Encoding.PEM)


def certificate_pem(certificate: x509.Certificate) -> bytes:
    """The certificate as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def _signs_without_digest(signer: Signer) -> bool:
    return type(signer.key).__name__.startswith(("Ed25519", "Ed448"))


def _subject(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(*, server: bool) -> x509.ExtendedKeyUsage:
    client = [ExtendedKeyUsageOID.CLIENT_AUTH]
    return x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, *client] if server else client)


def _key_usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
