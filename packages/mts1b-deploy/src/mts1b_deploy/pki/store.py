"""The certificates of one installation as files: made, renewed, listed, revoked.

::

    <directory>/ca.crt          whom to trust; may hold several certificates while an authority is replaced
    <directory>/<name>.pem      key and certificate of one peer in one file, so that renewal replaces both at once
    <directory>/<name>.csr      a request that waits for somebody else's authority to sign it
    <directory>/authority/      key of the authority and the register of what it signed

Directories are 0700, files 0600; everything is written beside its place and moved there, so that a reader sees the
old file or the new one. A certificate names its service by ``spiffe://mts1b/<repo>``. nats-server knows no
revocation lists, and a stolen key would go on naming its service until the certificate ends; so ``revoke`` gives
the service a new name, ``spiffe://mts1b/<repo>/2``, and the rendered server configuration knows only that one.
"""

import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from mts1b_platform.whole_file import write_whole

from mts1b_deploy.errors import PkiError
from mts1b_deploy.pki import certificates as make
from mts1b_deploy.pki.files import authority, certificates, directory, read, signed_by, uris

Kind = Literal["service", "server"]

DOMAIN = "spiffe://mts1b/"
AUTHORITY_LIFETIME = timedelta(days=5 * 365)
LIFETIME = timedelta(days=30)
"""How long a certificate is valid unless asked otherwise; ``rotate`` renews when a third of it is left."""

_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")


def identity_of(repo: str, generation: int = 1) -> str:
    """The name by which the server knows ``repo``, after ``generation - 1`` revocations."""
    return f"{DOMAIN}{repo}" if generation == 1 else f"{DOMAIN}{repo}/{generation}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One certificate that was made, or asked for."""

    name: str
    kind: Kind
    identity: str
    generation: int
    serial: str = ""
    not_before: str = ""
    not_after: str = ""
    hosts: tuple[str, ...] = ()
    revoked_at: str | None = None

    def state(self, now: datetime) -> str:
        """``valid``, ``due`` (a third or less is left), ``expired``, ``revoked`` or ``requested``."""
        if self.revoked_at is not None:
            return "revoked"
        if not self.serial:
            return "requested"
        begin, end = datetime.fromisoformat(self.not_before), datetime.fromisoformat(self.not_after)
        if now >= end:
            return "expired"
        return "due" if (end - now) * 3 <= end - begin else "valid"

    def overdue(self, now: datetime) -> bool:
        """Whether a quarter or less is left: whoever renews once a day what is due has not done it for days."""
        if self.revoked_at is not None or not self.serial:
            return False
        begin, end = datetime.fromisoformat(self.not_before), datetime.fromisoformat(self.not_after)
        return (end - now) * 4 <= end - begin


class Pki:
    """The certificates below ``directory``. One process changes them at a time (the caller holds the prefix's lock)."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def ca(self) -> Path:
        """The authority's certificate, which every client and server trusts."""
        return self.directory / "ca.crt"

    @property
    def ca_key(self) -> Path:
        """The authority's key; not there when somebody else's authority signs."""
        return self.directory / "authority" / "ca.key"

    @property
    def register(self) -> Path:
        """What was signed."""
        return self.directory / "authority" / "register.json"

    @property
    def exists(self) -> bool:
        """Whether ``init`` was done."""
        return self.ca.is_file()

    def pem(self, name: str) -> Path:
        """Key and certificate of ``name``."""
        return self.directory / f"{name}.pem"

    def init(self, *, ca: Path | None = None, ca_key: Path | None = None, lifetime: timedelta | None = None) -> bool:
        """Make an authority, or take one that exists; False when there is one here already.

        Args:
            ca: certificate of an authority of your own; with several in the file the first one signs.
            ca_key: its key. Left out: ``issue`` writes requests, and you have them signed elsewhere.
            lifetime: of an authority that is made.

        Raises:
            PkiError: the files given are no authority, or another one is here.
        """
        if ca is None and ca_key is not None:
            raise PkiError(f"{ca_key} is a key without its certificate: give --ca-cert too")
        if self.exists:
            if ca is not None and ca.read_bytes() != self.ca.read_bytes():
                raise PkiError(f"{self.ca} is another authority than {ca}: move {self.directory} away to begin anew")
            return False
        if ca is None:
            signer = make.new_authority(f"MTS1B {secrets.token_hex(4)}", lifetime or AUTHORITY_LIFETIME)
            bundle, key = make.certificate_pem(signer.certificate), make.private_pem(signer.key)
        else:
            bundle, key = read(ca), read(ca_key) if ca_key is not None else None
            authority(bundle, key, ca)
        directory(self.directory)
        directory(self.ca_key.parent)
        if key is not None:
            write_whole(self.ca_key, key)
        write_whole(self.register, b"[]\n")
        write_whole(self.ca, bundle)
        return True

    def issue(
        self, name: str, *, hosts: Sequence[str] = (), lifetime: timedelta = LIFETIME, renew: bool = False
    ) -> Entry:
        """A certificate for the service ``name``, or with ``hosts`` for a server; the one that is there if it is good.

        Raises:
            PkiError: there is no authority, or ``name`` is no name.
        """
        if not _NAME.fullmatch(name):
            raise PkiError(f"{name!r} names no service: use lower-case letters, digits and -, such as mts1b-oms")
        signer = self._signer()
        held = self.find(name)
        good = held is not None and held.state(datetime.now(UTC)) == "valid" and self.pem(name).is_file()
        if held is not None and good and not renew and (not hosts or tuple(hosts) == held.hosts):
            return held
        places = tuple(hosts) or (held.hosts if held and held.kind == "server" else ())
        generation = max(
            (each.generation + bool(each.revoked_at) for each in self.entries() if each.name == name), default=1
        )
        kind: Kind = "server" if places else "service"
        identity = identity_of(name, generation)
        names = make.server_names(places) if places else make.client_names(identity)
        entry = Entry(name=name, kind=kind, identity=identity, generation=generation, hosts=places)
        key = make.new_key()
        if signer is None:
            asked = make.request(key, name, names, server=bool(places))
            write_whole(self.directory / f"{name}.key", make.private_pem(key))
            write_whole(self.directory / f"{name}.csr", make.request_pem(asked))
            self._record(entry)
            return entry
        certificate = make.certify(signer, key, name, names, server=bool(places), lifetime=lifetime)
        write_whole(self.pem(name), make.private_pem(key) + make.certificate_pem(certificate))
        return self._record(_dated(entry, certificate))

    def take(self, name: str, certificate: Path) -> Entry:
        """Put the certificate that somebody else's authority signed beside the key that was made for it.

        Raises:
            PkiError: nothing was asked for, or the certificate does not fit the request or the authority.
        """
        key_file, asked = self.directory / f"{name}.key", self.find(name)
        if asked is None or not key_file.is_file():
            raise PkiError(
                f"nothing waits for a certificate of {name}: `mts1b-deploy pki issue {name}` writes a request"
            )
        chain = read(certificate)
        leaf = certificates(chain, certificate)[0]
        key = load_pem_private_key(key_file.read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or leaf.public_key() != key.public_key():
            raise PkiError(f"{certificate} is not for the key in {key_file}: have {name}.csr signed")
        if asked.kind == "service" and asked.identity not in uris(leaf):
            raise PkiError(
                f"{certificate} does not name {asked.identity}: the authority must copy the URI from {name}.csr"
            )
        if not any(signed_by(leaf, each) for each in certificates(self.ca.read_bytes(), self.ca)):
            raise PkiError(f"{certificate} was not signed by an authority in {self.ca}")
        write_whole(self.pem(name), key_file.read_bytes() + chain)
        key_file.unlink()
        (self.directory / f"{name}.csr").unlink(missing_ok=True)
        return self._record(_dated(asked, leaf))

    def rotate(self, names: Sequence[str] = (), *, due: bool = False, lifetime: timedelta = LIFETIME) -> list[Entry]:
        """Renew the certificates of ``names``, or of everybody; with ``due`` only those that end soon.

        Services pick theirs up when they next connect, a server when it is told to reload.
        """
        now = datetime.now(UTC)
        chosen = [each for each in self.current() if not names or each.name in names]
        if missing := sorted(set(names) - {each.name for each in chosen}):
            raise PkiError(
                f"there is no certificate of {', '.join(missing)}: `mts1b-deploy pki ls` lists those there are"
            )
        return [
            self.issue(each.name, hosts=each.hosts, lifetime=lifetime, renew=True)
            for each in chosen
            if not due or each.state(now) in ("due", "expired")
        ]

    def revoke(self, name: str) -> Entry:
        """Withdraw every certificate of ``name`` made so far; the next one carries another identity.

        It takes effect when the server configuration is rendered again and reloaded.
        """
        held = self.find(name)
        if held is None:
            raise PkiError(f"there is no certificate of {name}: `mts1b-deploy pki ls` lists those there are")
        if held.kind == "server":
            raise PkiError(
                f"{name} is a server, whom clients trust by its authority: replace the authority, or wait until "
                f"{held.not_after} when its certificate ends"
            )
        gone = replace(held, revoked_at=datetime.now(UTC).isoformat(timespec="seconds"))
        self._save([gone if each == held else each for each in self.entries()])
        self.pem(name).unlink(missing_ok=True)
        return gone

    def entries(self) -> list[Entry]:
        """Everything that was made, in order."""
        try:
            rows: list[dict[str, Any]] = json.loads(self.register.read_bytes())
        except FileNotFoundError:
            return []
        except ValueError as error:
            raise PkiError(f"{self.register} is damaged ({error}): restore it from a backup") from error
        return [replace(Entry(**row), hosts=tuple(row["hosts"])) for row in rows]

    def current(self) -> list[Entry]:
        """The latest certificate of every name that is not revoked, by name."""
        latest = {each.name: each for each in self.entries()}
        return sorted((each for each in latest.values() if each.revoked_at is None), key=lambda each: each.name)

    def find(self, name: str) -> Entry | None:
        """The latest certificate of ``name`` that is not revoked."""
        return next((each for each in self.current() if each.name == name), None)

    def identities(self) -> dict[str, str]:
        """The identity by which the server shall know each service: what the server configuration is rendered from.

        A service whose certificate was revoked is known by nobody until a new one is issued.
        """
        return {each.name: each.identity for each in self.current() if each.kind == "service"}

    def _signer(self) -> make.Signer | None:
        if not self.exists:
            raise PkiError(f"there is no authority in {self.directory}: `mts1b-deploy pki init` makes one")
        if not self.ca_key.is_file():
            return None
        return authority(self.ca.read_bytes(), self.ca_key.read_bytes(), self.ca)

    def _record(self, entry: Entry) -> Entry:
        others = [each for each in self.entries() if each.name != entry.name or each.revoked_at is not None]
        self._save([*others, entry])
        return entry

    def _save(self, entries: Sequence[Entry]) -> None:
        write_whole(self.register, json.dumps([asdict(each) for each in entries], indent=1).encode() + b"\n")


def _dated(entry: Entry, certificate: x509.Certificate) -> Entry:
    return replace(
        entry,
        serial=f"{certificate.serial_number:x}",
        not_before=certificate.not_valid_before_utc.isoformat(),
        not_after=certificate.not_valid_after_utc.isoformat(),
    )
