"""Questions from service to service, with answers on subjects that only answers use.

An event that is published to a stream shows its readers where its producer waits for the ack. If services were allowed
to publish into each other's inboxes to answer questions, any of them could forge that ack. So on a server with
identities, answers to questions (``svc.…``, ``$SRV.…``) go to ``_SVC.<asker>.<random>``, where no ack is ever waited
for.
"""

import asyncio
import secrets
from typing import Final

from mts1b_platform.eventbus.connection.connection import Connection
from mts1b_platform.eventbus.errors import NoResponders, RequestTimeout
from mts1b_platform.eventbus.protocol.frames import checked_subject, hpub_frame, pub_frame
from mts1b_platform.eventbus.protocol.message import RawMsg, WireMsg

ASKS: Final = ("svc.", "$SRV.")
"""How questions to services begin: to their endpoints, and to NATS's service protocol, which finds them."""
ANSWERS: Final = "_SVC"
_NOBODY: Final = b"NATS/1.0 503"


async def ask_all(
    connection: Connection, subject: str, inbox: str, payload: bytes, timeout: float, stall: float
) -> list[WireMsg]:
    """Ask, and return every answer that comes to ``inbox`` until none has come for ``stall`` seconds."""
    loop = asyncio.get_running_loop()
    answers: list[WireMsg] = []
    came = asyncio.Event()

    def take(batch: list[RawMsg]) -> None:
        answers.extend(WireMsg(*each) for each in batch)
        came.set()

    to = checked_subject(subject)
    waiting = connection.subscribe(inbox, take)
    end = loop.time() + timeout
    try:
        connection.send(pub_frame(to, payload, inbox.encode()))
        while (left := min(end - loop.time(), stall if answers else timeout)) > 0:
            came.clear()
            try:
                async with asyncio.timeout(left):
                    await came.wait()
            except TimeoutError:
                break
            if _nobody(answers[-1]):
                return []
    finally:
        waiting.unsubscribe()
    return answers


def inbox_of(service: str) -> str:
    """Where ``service`` is answered on a server with identities."""
    return f"{ANSWERS}.{service}.{secrets.token_hex(11)}"


async def ask(
    connection: Connection, service: str, subject: str, payload: bytes, timeout: float, headers: bytes
) -> WireMsg:
    """Ask in the name of ``service``, and return the first answer.

    Raises:
        NoResponders: nobody answers this.
        RequestTimeout: no answer within ``timeout`` seconds.
    """
    answered: asyncio.Future[RawMsg] = asyncio.get_running_loop().create_future()

    def take(batch: list[RawMsg]) -> None:
        if not answered.done():
            answered.set_result(batch[0])

    to, inbox = checked_subject(subject), inbox_of(service)
    waiting = connection.subscribe(inbox, take, max_msgs=1)
    try:
        reply = inbox.encode()
        connection.send(hpub_frame(to, headers, payload, reply) if headers else pub_frame(to, payload, reply))
        async with asyncio.timeout(timeout):
            answer = WireMsg(*await answered)
    except TimeoutError:
        raise RequestTimeout(
            f"{subject}: no answer within {timeout:g} s; it may have been handled all the same"
        ) from None
    finally:
        waiting.unsubscribe()
    if _nobody(answer):
        raise NoResponders(f"{subject}: nobody answers requests there; start the service that does")
    return answer


def _nobody(answer: WireMsg) -> bool:
    return not answer.payload and answer.head.startswith(_NOBODY)
