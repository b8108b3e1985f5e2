"""What can go wrong while installing and running the bus, and with which exit code a command ends.

::

    Mts1bError                   (mts1b_foundation.errors)
    └── DeployError              exit code 1
        ├── UnknownName          2  a profile, part or supervisor that does not exist, a bad value
        ├── PrefixError          1  the prefix cannot be used: a file, not writable, somebody else's
        ├── Conflict             1  a file that is in the way and was not written, or was edited since
        ├── ConfigFileError      1  an mts1b.toml or install record that cannot be read
        ├── PortTaken            1  something else listens on a port that is needed
        ├── Busy                 1  another mts1b-deploy works on the same prefix
        ├── StartFailed          1  the server did not come up; the message carries its log
        ├── UpgradeRefused       1  a node is away or not well, so that no other may go
        ├── ReleaseRefused       1  services are not all well, or there is nothing to change to; nothing was changed
        ├── ReleaseFailed        1  services of another release are not ready; those of the one before run again
        ├── BackupError          1  a backup cannot be made, read, or put back
        ├── SealRefused          1  a secret cannot be sealed for this host, or was sealed for another one
        ├── SiteError            1  another site cannot be reached, or must not be changed as things are
        ├── StreamsFailed        1  the server is up, the streams could not be applied
        ├── PkiError             1  a certificate cannot be made, renewed or withdrawn
        └── NotInstalled         4  nothing is installed under this prefix

``status`` ends with 3 when an installed server does not run, with 1 when it runs but not as it should.
"""

from mts1b_foundation.errors import Mts1bError


class DeployError(Mts1bError):
    """Root of what mts1b-deploy reports as an error; the message names the thing and the remedy."""

    exit_code = 1


class UnknownName(DeployError):
    """A profile, part or supervisor that does not exist, or a value that cannot be."""

    exit_code = 2


class PrefixError(DeployError):
    """The prefix cannot be used."""


class Conflict(DeployError):
    """A file is in the way."""


class ConfigFileError(DeployError):
    """A configuration file of the installation cannot be parsed."""


class PortTaken(DeployError):
    """A required port is in use."""


class Busy(DeployError):
    """Another mts1b-deploy is changing the same prefix."""


class StartFailed(DeployError):
    """The server did not come up."""


class UpgradeRefused(DeployError):
    """Another node is down or unhealthy, so this one must not be stopped."""


class ReleaseRefused(DeployError):
    """The release of the services cannot be changed as things are."""


class ReleaseFailed(DeployError):
    """Services of another release do not become ready, or its environment cannot be made."""


class BackupError(DeployError):
    """A backup cannot be made, read, or put back."""


class SealRefused(DeployError):
    """A secret cannot be sealed for this host, or not be opened here."""


class SiteError(DeployError):
    """Another site cannot be reached, or what was asked for would let two sites store at a time."""


class StreamsFailed(DeployError):
    """The streams could not be applied."""


class PkiError(DeployError):
    """A certificate cannot be made, renewed or withdrawn."""


class NotInstalled(DeployError):
    """Nothing is installed under this prefix."""

    exit_code = 4
