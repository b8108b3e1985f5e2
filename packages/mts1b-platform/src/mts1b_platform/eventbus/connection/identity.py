"""The identity of this process on the bus: a service has a certificate, a person a token.

Certificates and tokens are short-lived and renewed in place, and an authority may be replaced: all are read again
whenever a connection is made, so that a process may run for months without a restart. A connection stays when its
certificate expires; it ends when its token does.
"""

import json
import ssl
import time
from base64 import urlsafe_b64decode
from datetime import datetime
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from mts1b_foundation.subjects import encode_token, inbox_of_person

from mts1b_platform.config import ConfigError, Settings
from mts1b_platform.eventbus.connection.options import Credentials
from mts1b_platform.eventbus.errors import AccessDenied

_TLS = ("tls", "wss")
_EARLY = 1.0
"""Seconds by which the server may be ahead of us when it ends a token."""


class Identity:
    """Certificate or token as the settings name them. Made once for each bus, read again at each connect.

    Raises:
        ConfigError: a file that the settings name cannot be read or does not fit.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ca = settings.tls_ca or (settings.tls_dir / "ca.crt" if settings.tls_dir else None)
        self._certificate, self._key = _certificate_files(settings)
        self._loaded: tuple[int, ...] = ()
        self._context: ssl.SSLContext | None = None
        self._comes_by_tls = self._ca is not None or self._certificate is not None or _dials_tls(settings)
        self.refresh()

    def __repr__(self) -> str:
        return f"<Identity {self.name}>"

    @property
    def name(self) -> str:
        """The name for error messages: the person, the service, or that none is set. Never a secret."""
        if (claims := self.claims()) is not None:
            return str(claims.get("sub") or "somebody with a token")
        return self._settings.service or "no service set"

    @property
    def remedy(self) -> str:
        """What to do when something is refused."""
        if self.has_token:
            return "People read what their roles read, and write nothing: `mts1b token show` says which roles these are"
        return f"`mts1b-deploy permissions show {self.name}` lists what it may do"

    @property
    def certificate(self) -> Path | None:
        """The file of the certificate that is presented."""
        return self._certificate

    @property
    def certificate_ends(self) -> datetime | None:
        """When the certificate that is presented next ends; None without one, or when it cannot be read just now."""
        if self._certificate is None:
            return None
        from cryptography import x509  # a tenth of a second, which most processes need not spend

        try:
            held = x509.load_pem_x509_certificates(self._certificate.read_bytes())
        except (OSError, ValueError):
            return None
        return min(each.not_valid_after_utc for each in held)

    @property
    def has_token(self) -> bool:
        """Whether this is a person, who comes with a token."""
        return self._settings.is_person

    @property
    def inbox_prefix(self) -> str:
        """First tokens of the subjects on which this identity may receive answers."""
        claims = self.claims()
        if claims is not None:
            return inbox_of_person(str(claims.get("iss")), str(claims.get("sub")))
        return f"_INBOX_{encode_token(self._settings.service)}" if self._settings.service else "_INBOX"

    def credentials(self) -> Credentials:
        """What is presented to a server now.

        Raises:
            ConfigError: the token's file cannot be read.
        """
        return Credentials(tls=self._context, token=self.token() if self.has_token else None)

    def refresh(self) -> None:
        """Take authorities, certificate and key as they are on the disk now; connections made from now on use them.

        Raises:
            ConfigError: they cannot be read, or do not belong together; those of before stay in use.
        """
        if not self._comes_by_tls:
            return
        state = tuple(_modified(path) for path in (self._ca, self._certificate, self._key) if path is not None)
        if self._context is not None and state == self._loaded:
            return
        context = _new_context(self._ca)  # a new one: an authority that is gone must not be trusted any more
        if self._certificate is not None:
            try:
                context.load_cert_chain(self._certificate, self._key)
            except (OSError, ssl.SSLError) as error:
                raise ConfigError(
                    f"certificate {self._certificate}{f' with key {self._key}' if self._key else ''} cannot be used: "
                    f"{_words(error)}. `mts1b-deploy pki issue {self._settings.service or '<service>'}` makes one"
                ) from None
        self._context, self._loaded = context, state

    def token(self) -> str:
        """The token as it is now.

        Raises:
            ConfigError: its file cannot be read.
        """
        if self._settings.token is not None:
            return self._settings.token.get_secret_value()
        path = self._settings.token_file
        assert path is not None  # noqa: S101 - asked only when there is one
        try:
            return path.read_text().strip()
        except OSError as error:
            raise ConfigError(f"no token in {path} ({error.strerror}): `mts1b login` gets one") from None

    def claims(self) -> dict[str, Any] | None:
        """What the token says of itself, unchecked (checking is the server's); None without a readable token."""
        if not self.has_token:
            return None
        try:
            body = self.token().split(".")[1]
            found = json.loads(urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        except (ConfigError, ValueError, IndexError):
            return {}
        return cast("dict[str, Any]", found) if isinstance(found, dict) else {}

    @property
    def expires_at(self) -> float | None:
        """When the token ends, in seconds since 1970; None when it does not say or there is none."""
        expiry = (self.claims() or {}).get("exp")
        return float(expiry) if isinstance(expiry, int | float) else None

    def expired(self) -> AccessDenied | None:
        """What to raise when the token has ended; None while it is good, and for services."""
        end = self.expires_at
        if end is None or time.time() < end - _EARLY:
            return None
        moment = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(end))
        return AccessDenied(f"the token of {self.name} ended at {moment}: `mts1b login` gets a new one")


def _certificate_files(settings: Settings) -> tuple[Path | None, Path | None]:
    if settings.tls_cert is not None:
        return settings.tls_cert, settings.tls_key
    if settings.tls_key is not None:
        raise ConfigError(f"setting tls_key names {settings.tls_key}, but tls_cert is missing: set MTS1B_TLS_CERT")
    if settings.tls_dir is None or settings.service is None or settings.is_person:
        return None, None
    return settings.tls_dir / f"{settings.service}.pem", None


def _dials_tls(settings: Settings) -> bool:
    return any(urlsplit(server).scheme in _TLS for server in settings.servers)


def _modified(path: Path) -> int:
    """When it was written, in nanoseconds; 0 for a file that cannot be looked at."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _new_context(ca: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(ca) if ca else None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"the authorities in {ca} cannot be used: {_words(error)}. Copy ca.crt from the server, or set MTS1B_TLS_CA"
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _words(error: OSError) -> str:
    return error.strerror or str(error)
