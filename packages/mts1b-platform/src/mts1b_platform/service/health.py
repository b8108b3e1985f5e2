"""Whether the streams answer a publish of this service, asked without storing anything.

A publish on the service's own dead-letter subject travels the whole way (permissions, stream leader, answer) and
carries an expectation that no stream can meet, so that the leader refuses it. That it was refused for just that is
the proof. Whoever listens to the subject live sees an empty message with the header ``mts-probe`` pass.

What it does not prove: that a disk has room and a follower acknowledges; the monitor stores probes for that.
"""

import json

from mts1b_foundation.subjects import deadletters_of

from mts1b_platform.eventbus import EventBus
from mts1b_platform.eventbus.errors import BusError, NoResponders

_IMPOSSIBLE = {"Nats-Expected-Last-Msg-Id": "mts1b-readiness", "mts-probe": "readiness"}
_REFUSED = frozenset({10070})
_TIMEOUT = 1.0


async def stores_end_to_end(bus: EventBus) -> str | None:
    """None when the stream's leader answered a publish of this service's dead letters, else what is wrong.

    Every service has these, whoever declared it: also one that reads only, or was contributed.
    """
    subject = deadletters_of(bus.service).pattern
    try:
        answer = await bus.request(subject, b"", timeout=_TIMEOUT, headers=dict(_IMPOSSIBLE))
    except NoResponders:
        return f"no stream answers on {subject}: JetStream is off or has no leader, or `mts1b streams apply` is due"
    except BusError:
        return f"no answer to a publish on {subject} within {_TIMEOUT:g} s: the server is down, frozen or refuses it"
    document: dict[str, dict[str, object]] = json.loads(answer.data)
    error = document.get("error", {})
    if error.get("err_code") not in _REFUSED:
        return f"{subject}: {error.get('description', 'the stream stored what it should have refused')}"
    return None
