"""Before a server starts: does another site serve in its place?"""

from typing import Final

from mts1b_platform.server.probe import read_info

from mts1b_deploy.errors import SiteError
from mts1b_deploy.nodes import address
from mts1b_deploy.record import InstallRecord

_PATIENCE: Final = 2.0


def ensure_alone(record: InstallRecord) -> None:
    """Check that no other site serves in this one's place. A mirror lets nobody in, so it does not.

    A site that cannot be reached does not keep this one from starting.

    Raises:
        SiteError: one serves.
    """
    for other in record.other_sites:
        found = read_info(other.host, other.port, timeout=_PATIENCE)
        if found is not None and found.server_name == other.name:
            raise SiteError(
                f"site {other.name} serves at {address(other.host, other.port)}: it was promoted, and what two sites "
                f"store cannot be brought together again. `mts1b-deploy mirror` makes this one its mirror, and lists "
                "what it stored that the other one does not have"
            )
