"""Do what people ask for, over their own connections: halts, dead letters."""

import asyncio
import os

from mts1b_platform.config import Settings
from mts1b_platform.logs import configure_logging
from mts1b_platform.output import noun, say

from mts1b_operations.commands._bus import Servers
from mts1b_operations.people.serve import acting, until_told

app = noun(__doc__ or "")


@app.command("serve")
def serve(*, servers: Servers = None) -> None:
    """Do what people ask for until SIGTERM or Ctrl-C. Two share the work, and a request is done once.

    The audit log is where MTS1B_AUDIT_DIR says, else in `audit` of the installation. Without one that can be written
    halts are done all the same, and nothing else.

    Example: mts1b act serve
    """
    configure_logging()
    settings = Settings.load()
    if settings.audit_dir is None and settings.tls_dir is not None:
        os.environ["MTS1B_AUDIT_DIR"] = str(settings.tls_dir.parent.parent / "audit")
    say(f"audit log: {Settings.load().audit_dir or 'none, so halts alone are done'}")
    asyncio.run(until_told(acting, say, servers=servers))
