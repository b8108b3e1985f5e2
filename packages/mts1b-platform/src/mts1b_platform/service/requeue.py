"""Publishing a stored event again, by the service whose event it is: ``svc.v1.<service>.requeue``.

On a secured bus nobody but its producer may publish an event. So who requeues a dead letter (the operations) asks the
producer, and the producer publishes what *its own stream* holds under the sequence that it is told: nobody can have it
publish anything else. Only the operations may ask.

::

    question  {"stream", "sequence", "stored_at", "subject", "msg_id", "requeues", "only", "after"}
    answer    {"seq": 4711}                                stored, now or by an earlier question with this msg_id
              {"refused": "why"}                           not stored, for certain
              {"unknown": "why"}                           the stream did not answer: ask again to find out
"""

import asyncio
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from mts1b_foundation.subjects import PRODUCERS, registry

from mts1b_platform.eventbus import BusError, EventBus, Message
from mts1b_platform.eventbus.errors import (
    AccessDenied,
    InvalidHeader,
    NoResponders,
    OutboundBufferFull,
    PayloadTooLarge,
    RequestTimeout,
    ServerUnavailable,
)
from mts1b_platform.eventbus.jetstream.stored import read_stored
from mts1b_platform.eventbus.protocol.envelope import (
    ACTOR,
    CONTENT_TYPE,
    MSG_ID,
    ONLY_DURABLE,
    ORIGINAL_MSG_ID,
    REQUEUES,
    SCHEMA,
    SOURCE_REPO,
    TRACE_ID,
    TRACEPARENT,
    canonical,
)
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.service")

_ATTEMPTS: Final = 10
_TIMEOUT: Final = 2.0
_ENVELOPE: Final = frozenset({ACTOR, CONTENT_TYPE, SCHEMA, SOURCE_REPO, TRACE_ID, TRACEPARENT})
_OWN: Final = re.compile(r"(?!nats-|mts-)[a-z0-9_-]+", re.IGNORECASE)
"""Headers that publishers add. Those that begin with ``Nats-`` tell the server what to do with a message."""


class NotStored(BusError):
    """The message was not stored again, for certain."""


class MaybeStored(BusError):
    """The stream did not answer: it may have stored the message or not."""


def requeue_subject(repo: str) -> str:
    """Where the producer ``repo`` is asked."""
    return f"svc.v1.{repo.removeprefix('mts1b-')}.requeue"


async def answer_requeues(bus: EventBus) -> None:
    """Answer on ``bus`` until it is closed; does nothing for a service that produces no event.

    Raises:
        AccessDenied: the bus does not speak as the service that it names.
    """
    if bus.service not in PRODUCERS:
        return

    async def answer(msg: Message) -> None:
        await msg.respond(json.dumps(await _answer(bus, msg.data)).encode())

    await bus.subscribe(requeue_subject(bus.service), queue=bus.service, cb=answer)


def carried(headers: Mapping[str, str]) -> dict[str, str]:
    """Those of ``headers`` that a requeued message keeps: its envelope, its identity, and what its publisher added."""
    kept = {name: value for name, value in headers.items() if name.lower() in _ENVELOPE or _OWN.fullmatch(name)}
    first = header(headers, ORIGINAL_MSG_ID) or header(headers, MSG_ID)
    return kept | {ORIGINAL_MSG_ID: first} if first else kept


def header(headers: Mapping[str, str], name: str) -> str | None:
    """The header ``name``, in whatever case it was sent."""
    return next((value for key, value in headers.items() if key.lower() == name.lower()), None)


async def stored_after(bus: EventBus, stream: str, subject: str, after: int, msg_id: str) -> int | None:
    """Where ``stream`` holds the message with ``msg_id`` on ``subject``, stored after the sequence ``after``."""
    seq = after + 1
    while (message := await read_stored(bus, stream, seq=seq, next_by=subject)) is not None:
        if header(message.wire.headers.readable(), MSG_ID) == msg_id:
            return message.seq
        seq = message.seq + 1
    return None


async def store(bus: EventBus, subject: str, payload: bytes, headers: Mapping[str, str]) -> int:
    """Publish until the stream has it; its sequence.

    Raises:
        NotStored: no stream took it.
        MaybeStored: the stream did not answer.
    """
    problem, asked = "no connection", False
    for attempt in range(_ATTEMPTS):
        await bus.wait_connected(_TIMEOUT)
        try:
            answer = await bus.request(subject, payload, timeout=_TIMEOUT, headers=headers)
            document: dict[str, Any] = json.loads(answer.data)
        except (NoResponders, OutboundBufferFull, RequestTimeout, ServerUnavailable) as error:
            asked = asked or not isinstance(error, (NoResponders, OutboundBufferFull))
            problem = str(error)
            await asyncio.sleep(0.1 * attempt)
        except (AccessDenied, PayloadTooLarge) as error:
            raise NotStored(str(error)) from error
        except ValueError:
            problem = "what answers on the subject is no stream"
            break
        else:
            if (refused := document.get("error")) is None:
                return int(document["seq"])
            problem = f"{refused.get('description')} (error {refused.get('err_code')})"
            break
    if asked:
        raise MaybeStored(problem)
    raise NotStored(problem)


async def _answer(bus: EventBus, data: bytes) -> dict[str, Any]:
    try:
        asked: dict[str, Any] = json.loads(data)
        seq = await _requeue(bus, asked)
    except (NotStored, InvalidHeader) as error:
        return {"refused": str(error)}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return {"refused": f"no question that can be understood: {type(error).__name__}: {error}"}
    except BusError as error:
        return {"unknown": str(error)}
    log.warning("an event was published again for the operations", subject=asked["subject"], msg_id=asked["msg_id"])
    return {"seq": seq}


async def _requeue(bus: EventBus, asked: Mapping[str, Any]) -> int:
    stream, subject, msg_id = str(asked["stream"]), str(asked["subject"]), str(asked["msg_id"])
    declared = registry().find(subject)
    owner = registry().producer_of(declared, subject) if declared else "nobody"
    if owner != bus.service:
        raise NotStored(f"{subject} is an event of {owner}, not of {bus.service}")
    if (after := asked.get("after")) is not None:
        found = await stored_after(bus, stream, subject, int(after), msg_id)
        if found is not None:
            return found
    held = await read_stored(bus, stream, seq=int(asked["sequence"]))
    same = held is not None and held.time == datetime.fromisoformat(str(asked["stored_at"]))
    if held is None or not same or held.wire.subject.decode() != subject:
        raise NotStored(
            f"{stream} does not hold the event under {asked['sequence']} any more, and {bus.service} publishes again "
            "only what it has published; let it make the event anew, and discard the dead letter"
        )
    headers = held.wire.headers.readable()
    if (source := header(headers, SOURCE_REPO)) != bus.service:
        raise NotStored(f"{stream}:{asked['sequence']} was published by {source or 'nobody'}, not by {bus.service}")
    only = {ONLY_DURABLE: str(asked["only"])} if asked.get("only") else {}
    added = {REQUEUES: str(int(asked["requeues"])), MSG_ID: msg_id, **only}
    return await store(bus, subject, held.wire.payload, canonical(carried(headers) | added))
