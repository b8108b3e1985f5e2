"""What ``connect()`` turns on by itself when it is configured: the audit log, and traces.

Found by the bus through the entry point group ``mts1b.hooks``, so that the bus does not depend on any of it.
"""

from mts1b_platform.eventbus import EventBus
from mts1b_platform.eventbus.hooks import joined
from mts1b_platform.observability.audit.hook import AuditHook, open_audit


def attach(bus: EventBus) -> None:
    """Watch ``bus`` as its settings say.

    Raises:
        AuditError: the audit log cannot be opened.
        TracingError: traces are asked for and the exporter is not installed.
    """
    settings = bus.settings
    if settings.otlp_endpoint is not None:
        from mts1b_platform.observability.tracing import exporting

        bus.hooks = joined(bus.hooks, exporting(settings, bus.service))
    if (audit := open_audit(settings)) is not None:
        bus.hooks = joined(bus.hooks, AuditHook(audit))
