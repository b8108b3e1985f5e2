"""The auth-callout responder: authorizes every connection that presents no certificate.

It fails closed: without an answer within the server's time nobody gets in, and those who are in stay. Any number of
responders share the work through a queue group. Refusals are logged with their reason, admissions with the role;
tokens never.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

from mts1b_platform.eventbus import EventBus, Message
from mts1b_platform.logs import get_logger

from mts1b_operations.auth.admission import BadRequest, Question, admit, read_question, refuse
from mts1b_operations.auth.keys import CalloutKeys
from mts1b_operations.auth.roles import Role
from mts1b_operations.auth.tokens import Person, TokenRefused, Verifier

log = get_logger("mts1b.auth")

REPO: Final = "mts1b-auth"
"""The identity that the responder's certificate carries."""
SUBJECT: Final = "$SYS.REQ.USER.AUTH"
QUEUE: Final = "mts1b-auth"
_XKEY: Final = "Nats-Server-Xkey"


class Responder:
    """Answers the server on ``bus``, which must speak as ``mts1b-auth``."""

    def __init__(self, bus: EventBus, keys: CalloutKeys, verifier: Verifier, roles: Mapping[str, Role]) -> None:
        self.admitted = 0
        self.refused = 0
        self.bus = bus
        self._keys = keys
        self._verifier = verifier
        self._roles = roles

    async def start(self) -> None:
        """Begin to answer.

        Raises:
            AccessDenied: the bus does not speak as the responder.
        """
        await self.bus.subscribe(SUBJECT, queue=QUEUE, cb=self._asked)
        log.info("answering for people who want in", roles=sorted(self._roles))

    async def _asked(self, msg: Message) -> None:
        sender = msg.headers.get(_XKEY)
        try:
            # Unsealed questions are not answered: the token in them would have crossed the bus in the open.
            data = self._keys.curve.open(msg.data, sender or "")
            question = read_question(data)
        except (ValueError, BadRequest) as error:
            self.refused += 1
            log.warning("a question that is not the server's", reason=str(error))
            return
        answer = await self._decide(question)
        await self.bus.publish(msg.reply, self._keys.curve.seal(answer.encode(), sender or ""))

    async def _decide(self, question: Question) -> str:
        try:
            if not question.websocket:
                raise TokenRefused("people come by websocket; on this listener a certificate says who somebody is")
            if not question.token:
                raise TokenRefused("no token was sent")
            person = await asyncio.to_thread(self._verifier.verify, question.token)
            roles = self._known(person)
        except TokenRefused as error:
            self.refused += 1
            log.warning("refused", client=question.client, reason=str(error))
            return refuse(question, str(error), self._keys.issuer)
        self.admitted += 1
        log.info(
            "admitted",
            person=person.name,
            roles=[role.name for role in roles],
            issuer=person.issuer,
            until=int(person.expires_at),
            client=question.client,
        )
        return admit(question, person, roles, self._keys.issuer)

    def _known(self, person: Person) -> list[Role]:
        roles = [self._roles[name] for name in person.roles if name in self._roles]
        if not roles:
            has = ", ".join(person.roles) or "none"
            raise TokenRefused(
                f"{person.name} has no role of this bus (has: {has}; there are {', '.join(self._roles)})"
            )
        return roles
