"""Who a command of the desk comes as."""

from collections.abc import Sequence
from typing import Final

from mts1b_platform.config import Settings
from mts1b_platform.eventbus import EventBus, connect

_OPERATIONS: Final = "mts1b-operations"


async def connect_as_operator(servers: str | Sequence[str] | None, *, actor: str | None = None) -> EventBus:
    """A bus for a command: as whoever is configured, else, where services have certificates, as the operations.

    The operations may ask every service and look at every stream and durable.

    Raises:
        ConfigError, ServerUnavailable, AccessDenied: as ``connect()``.
    """
    settings = Settings.load(servers=servers)
    named = settings.is_person or settings.service is not None or settings.tls_cert is not None
    service = None if named or settings.tls_dir is None else _OPERATIONS
    return await connect(servers, service=service, actor=actor)
