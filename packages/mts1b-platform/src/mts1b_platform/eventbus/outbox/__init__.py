"""Publishing what a business transaction says, if and only if it commits: the transactional outbox.

The outboxes need a driver and are imported from their own modules: ``outbox.sqlite`` (extra ``sqlite``) and
``outbox.postgres`` (extra ``postgresql``).
"""

from mts1b_platform.eventbus.outbox.message import Backlog, Row
from mts1b_platform.eventbus.outbox.relay import Outbox, Relay, RelayCounters

__all__ = ["Backlog", "Outbox", "Relay", "RelayCounters", "Row"]
