"""The default places of keys and tokens."""

from pathlib import Path

from mts1b_foundation.errors import Mts1bError
from mts1b_platform.config import Settings, user_config


class PlaceUnknown(Mts1bError):
    """A path was not given, and there is no installation to take it from."""


def keys_directory(given: Path | None) -> Path:
    """The keys of the callout and of the local issuer: as given, else beside the installation's certificates.

    Raises:
        PlaceUnknown: neither is known.
    """
    if given is not None:
        return given
    tls_dir = Settings.load().tls_dir
    if tls_dir is None:
        raise PlaceUnknown(
            "where the keys are is not known: give --dir, or run this where `mts1b-deploy install --profile single` ran"
        )
    return tls_dir.parent / "auth"


def token_file() -> Path:
    """Where ``mts1b login`` keeps the token: as configured, else beside the user's settings."""
    return Settings.load().token_file or user_config().with_name("token")
