"""The audit log: what was published durably and what operators did, in files that show when they were changed."""

from mts1b_platform.observability.audit.errors import AuditError
from mts1b_platform.observability.audit.hook import AuditHook, audit_action
from mts1b_platform.observability.audit.read import chains, search
from mts1b_platform.observability.audit.verify import Chain, verify
from mts1b_platform.observability.audit.write import AuditLog

__all__ = ["AuditError", "AuditHook", "AuditLog", "Chain", "audit_action", "chains", "search", "verify"]
