"""Certificates and keys as files: read with errors that name the file, written whole and for their owner alone."""

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from mts1b_deploy.errors import PkiError
from mts1b_deploy.pki.certificates import Signer


def authority(bundle: bytes, key: bytes | None, path: Path) -> Signer | None:
    """The first authority of ``bundle``; with its ``key`` ready to sign.

    Raises:
        PkiError: it is no authority, or the key is another's.
    """
    certificate = certificates(bundle, path)[0]
    try:
        may_sign = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        may_sign = False
    if not may_sign:
        raise PkiError(f"{path} is no authority: its certificate may not sign others (basicConstraints)")
    if key is None:
        return None
    try:
        private = load_pem_private_key(key, None)
    except (ValueError, TypeError) as error:
        raise PkiError(f"the key of {path} cannot be read: {error}; give it as unencrypted PEM") from error
    if private.public_key() != certificate.public_key():
        raise PkiError(f"the key given is not that of {path}: give the two that belong together")
    return Signer(certificate, private)  # pyright: ignore[reportArgumentType] - it signed the certificate


def certificates(data: bytes, path: Path) -> list[x509.Certificate]:
    """Every certificate in a PEM file."""
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError as error:
        raise PkiError(f"{path} holds no certificate in PEM: {error}") from error


def uris(certificate: x509.Certificate) -> list[str]:
    """The URIs that a certificate names."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def signed_by(leaf: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether ``authority`` signed ``leaf``."""
    try:
        leaf.verify_directly_issued_by(authority)
    except Exception:  # noqa: BLE001 - names that differ, unknown algorithms, a wrong signature: all of them "no"
        return False
    return True


def read(path: Path) -> bytes:
    """The bytes of a file that somebody named."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise PkiError(f"{path} cannot be read: {error.strerror}") from error


def directory(path: Path) -> None:
    """A directory for its owner alone."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.chmod(0o700)
