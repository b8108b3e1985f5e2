"""Questions from service to service, with answers on subjects that only answers use.

An event that is published to a stream shows its hearers where its producer waits for the ack. If services were
allowed to publish into each other's inboxes to answer questions, any of them could forge that ack. So on a server
with identities, answers to questions (``svc.…``) go to ``_SVC.<asker>.<random>``, where no ack is ever waited for.
"""

import asyncio
import secrets
from typing import Any, Final

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

ASKS: Final = "svc."
ANSWERS: Final = "_SVC"


async def ask(
    client: Client, service: str, subject: str, payload: bytes, timeout: float, headers: dict[str, Any] | None
) -> Msg:
    """Ask and return the answer.

    Raises (nats-py's errors):
        NoRespondersError: nobody answers this.
        TimeoutError: no answer within ``timeout`` seconds.
    """
    answered: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()

    async def take(msg: Msg) -> None:
        if not answered.done():
            answered.set_result(msg)

    inbox = f"{ANSWERS}.{service}.{secrets.token_hex(11)}"
    waiting = await Client.subscribe(client, inbox, cb=take, max_msgs=1)  # pyright: ignore[reportUnknownMemberType]
    try:
        await client.publish(subject, payload, inbox, headers)
        async with asyncio.timeout(timeout):
            answer = await answered
    except TimeoutError:
        raise nats.errors.TimeoutError from None
    finally:
        await waiting.unsubscribe()
    if not answer.data and (answer.headers or {}).get("Status") == "503":
        raise nats.errors.NoRespondersError
    return answer
