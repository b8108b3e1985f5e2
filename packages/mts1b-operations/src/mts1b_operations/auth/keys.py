"""The keys that authorize people's connections.

::

    <directory>/issuer.nk      signs admissions: whoever has it can admit anybody. Guard it like root
    <directory>/xkey.nk        what the server asks is encrypted to it
    <directory>/callout.json   the public halves, for the server's configuration
    <directory>/tokens.pem     signs the tokens of the local issuer
    <directory>/jwks.json      its public half, for whoever verifies them

The private ones are 0600 in a directory 0700. Two responders share them.
"""

import base64
import binascii
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from mts1b_foundation.errors import Mts1bError
from mts1b_platform.whole_file import write_whole
from nacl.public import Box, PrivateKey, PublicKey
from nacl.signing import SigningKey

_SEED: Final = 18 << 3
_ACCOUNT: Final = 0
_CURVE: Final = 23 << 3
_VERSION: Final = b"xkv1"


class KeysError(Mts1bError):
    """Keys are missing or cannot be read; the message names the file and what makes them."""


class AccountKey:
    """An nkeys account key: signs admissions."""

    def __init__(self, secret: bytes) -> None:
        self._key = SigningKey(secret)

    @classmethod
    def from_seed(cls, seed: str) -> "AccountKey":
        """Read ``SA…``.

        Raises:
            ValueError: it is no such seed.
        """
        return cls(_secret(seed, _ACCOUNT))

    @property
    def seed(self) -> str:
        """``SA…``; keep it secret."""
        return _seed(bytes(self._key), _ACCOUNT)

    @property
    def public(self) -> str:
        """``A…``."""
        return _encode(bytes([_ACCOUNT]) + bytes(self._key.verify_key))

    def sign(self, data: bytes) -> bytes:
        """The signature of ``data``."""
        return self._key.sign(data).signature


class CurveKey:
    """An nkeys curve key: seals what only the other side may read, and proves who sealed it."""

    def __init__(self, secret: bytes) -> None:
        self._key = PrivateKey(secret)

    @classmethod
    def from_seed(cls, seed: str) -> "CurveKey":
        """Read ``SX…``.

        Raises:
            ValueError: it is no such seed.
        """
        return cls(_secret(seed, _CURVE))

    @property
    def seed(self) -> str:
        """``SX…``; keep it secret."""
        return _seed(bytes(self._key), _CURVE)

    @property
    def public(self) -> str:
        """``X…``."""
        return _encode(bytes([_CURVE]) + bytes(self._key.public_key))

    def seal(self, message: bytes, to: str) -> bytes:
        """Encrypt for the owner of the public key ``to``."""
        return _VERSION + bytes(Box(self._key, _curve_public(to)).encrypt(message))

    def open(self, sealed: bytes, sender: str) -> bytes:
        """Decrypt what ``sender`` sealed for us.

        Raises:
            ValueError: it was not, or somebody changed it.
        """
        if not sealed.startswith(_VERSION):
            raise ValueError("not sealed as xkv1")
        try:
            return Box(self._key, _curve_public(sender)).decrypt(sealed[len(_VERSION) :])
        except Exception as error:  # nacl's own kinds
            raise ValueError("cannot be opened: not sealed for this key, or changed on its way") from error


@dataclass(frozen=True, slots=True)
class CalloutKeys:
    """What the responder needs."""

    issuer: AccountKey
    curve: CurveKey

    @classmethod
    def load(cls, directory: Path) -> "CalloutKeys":
        """The keys below ``directory``.

        Raises:
            KeysError: they are not there, or not readable.
        """
        try:
            issuer = AccountKey.from_seed((directory / "issuer.nk").read_text().strip())
            return cls(issuer, CurveKey.from_seed((directory / "xkey.nk").read_text().strip()))
        except (OSError, ValueError) as error:
            raise KeysError(
                f"no usable keys of the callout in {directory} ({error}): `mts1b auth init` makes them"
            ) from None


def make_keys(directory: Path) -> bool:
    """Make every key that is missing; what is there stays. False when nothing was missing."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    directory.chmod(0o700)
    made = False
    if not (directory / "issuer.nk").exists():
        made = True
        write_whole(directory / "issuer.nk", AccountKey(os.urandom(32)).seed.encode())
    if not (directory / "xkey.nk").exists():
        made = True
        write_whole(directory / "xkey.nk", CurveKey(os.urandom(32)).seed.encode())
    if not (directory / "tokens.pem").exists():
        made = True
        key = Ed25519PrivateKey.generate()
        write_whole(directory / "tokens.pem", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    keys = CalloutKeys.load(directory)
    public = {"issuer": keys.issuer.public, "xkey": keys.curve.public}
    write_whole(directory / "callout.json", json.dumps(public, indent=1).encode() + b"\n")
    write_whole(directory / "jwks.json", json.dumps(jwks(token_key(directory)), indent=1).encode() + b"\n")
    return made


def token_key(directory: Path) -> Ed25519PrivateKey:
    """The key of the local issuer.

    Raises:
        KeysError: it is not there, or no Ed25519 key.
    """
    path = directory / "tokens.pem"
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError) as error:
        raise KeysError(f"{path} cannot be used ({error}): `mts1b auth init` makes one") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeysError(f"{path} is no Ed25519 key: move it away, `mts1b auth init` makes one")
    return key


def jwks(key: Ed25519PrivateKey) -> dict[str, Any]:
    """The public half of ``key`` as a set of JSON web keys."""
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    x = base64.urlsafe_b64encode(public).rstrip(b"=").decode()
    return {"keys": [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": x[:16], "x": x}]}


def _curve_public(text: str) -> PublicKey:
    raw = _decode(text)
    if len(raw) != 33 or raw[0] != _CURVE:
        raise ValueError("not a public curve key (X…)")
    return PublicKey(raw[1:])


def _seed(secret: bytes, kind: int) -> str:
    return _encode(bytes([_SEED | kind >> 5, (kind & 31) << 3]) + secret)


def _secret(seed: str, kind: int) -> bytes:
    raw = _decode(seed)
    if len(raw) != 34 or raw[0] & 0xF8 != _SEED or ((raw[0] & 7) << 5 | raw[1] >> 3) != kind:
        raise ValueError(f"not the seed of {'an account' if kind == _ACCOUNT else 'a curve'} key")
    return raw[2:]


def _encode(raw: bytes) -> str:
    return base64.b32encode(raw + binascii.crc_hqx(raw, 0).to_bytes(2, "little")).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    raw = base64.b32decode(text + "=" * (-len(text) % 8))
    body, check = raw[:-2], raw[-2:]
    if binascii.crc_hqx(body, 0).to_bytes(2, "little") != check:
        raise ValueError("its checksum is wrong")
    return body
