"""The connection between two sites: who dials, by which certificate, and what may pass.

It is a leaf node connection that carries replication and nothing else: no event passes it as itself, so that none is
stored at both ends. What may pass was found by what nats-server 2.15.1 asks for:

- ``$JS.<domain>.API.CONSUMER.CREATE.>``: the copying stream asks the other site for a consumer;
- ``$JSC.R.>``: the answer to that;
- ``$JS.M.>`` and ``$JS.S.>``: what is copied, for a mirror and for a source;
- ``$JS.FC.>``: flow control, from the copying side.
"""

from dataclasses import dataclass
from typing import Any, Final

from mts1b_deploy.nodes import DEFAULT_LEAF_PORT, Peer, address
from mts1b_deploy.record import InstallRecord, places

_ANSWERS: Final = "$JSC.R.>"
_FLOW: Final = "$JS.FC.>"


@dataclass(frozen=True, slots=True)
class LeafUser:
    """Another site, as the server that it dials knows it."""

    site: str
    publish: tuple[str, ...]
    """What it may send here."""
    subscribe: tuple[str, ...]
    """What it is sent."""

    @property
    def user(self) -> str:
        """The name in its certificate."""
        return leaf_name(self.site)


def leaf_name(site: str) -> str:
    """The name that only the certificate of ``site`` carries."""
    return f"{site}.site.mts1b.internal"


def certificate_of(site: str) -> str:
    """Under which name the certificate of ``site`` is kept."""
    return f"site-{site}"


def own_certificate(record: InstallRecord) -> str:
    """Under which name the certificate of a server is kept that is no cluster's: others dial it, or it dials them."""
    return certificate_of(record.site) if record.site and (record.sites or record.hubs) else "server"


def leaf_users(record: InstallRecord) -> list[LeafUser]:
    """Who may dial this site: the others that can stand in for it, and its edges."""
    if record.mirrors or not record.site:
        return []
    return [
        *(
            LeafUser(
                each.name,
                (f"$JS.{record.site}.API.CONSUMER.CREATE.>", _FLOW),
                (_ANSWERS, "$JS.M.>"),
            )
            for each in record.other_sites
        ),
        *(
            LeafUser(each.name, (_ANSWERS, "$JS.S.>"), (f"$JS.{each.name}.API.CONSUMER.CREATE.>", _FLOW))
            for each in places(record.edges)
        ),
    ]


def dialled(record: InstallRecord) -> tuple[Peer, ...]:
    """Whom this site dials: the site that it is a mirror of, or its hub."""
    if record.mirrors:
        return tuple(each for each in record.other_sites if each.name == record.mirrors)
    return places(record.hubs)


def leaf_port(record: InstallRecord) -> int | None:
    """Where this site is dialled; None when nobody dials it."""
    if not leaf_users(record):
        return None
    own = next((each for each in places(record.sites) if each.name == record.site), None)
    return own.cluster_port if own else record.leaf_port or DEFAULT_LEAF_PORT


def leaf_values(record: InstallRecord, *, pem: str, ca: str) -> dict[str, Any]:
    """The values that ``leaf.conf.j2`` is rendered from.

    Args:
        record: what is installed.
        pem: file with key and certificate of this site.
        ca: file with the authorities that it trusts.
    """
    port = leaf_port(record)
    return {
        "domain": record.site,
        "leaf_listen": address(record.host, port) if port else None,
        "leaf_users": leaf_users(record),
        "leaf_remotes": [f"tls://{address(each.host, each.cluster_port)}" for each in dialled(record)],
        "leaf_pem": pem,
        "leaf_ca": ca,
    }
