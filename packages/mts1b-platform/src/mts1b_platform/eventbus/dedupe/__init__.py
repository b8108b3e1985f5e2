"""Acting once on an event however often it arrives: ``async with event, event.once(store) as tx: …``.

The stores that need a driver are imported from their own modules: ``dedupe.sqlite`` (extra ``sqlite``) and
``dedupe.postgres`` (extra ``postgresql``).
"""

from mts1b_platform.eventbus.dedupe.kv import Claim, KvDedupe
from mts1b_platform.eventbus.dedupe.store import Memory
from mts1b_platform.eventbus.events.once import DedupeStore

__all__ = ["Claim", "DedupeStore", "KvDedupe", "Memory"]
