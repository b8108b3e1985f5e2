"""The auth-callout responder: authorizes every connection that presents no certificate.

It fails closed: without an answer within the server's time nobody gets in, and those who are in stay. Any number of
responders share the work through a queue group. Questions are answered side by side: whoever waits for a slow provider
keeps nobody else. Refusals are logged with their reason, admissions with the role; tokens never.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

from mts1b_platform.eventbus import EventBus, Message
from mts1b_platform.logs import get_logger

from mts1b_operations.auth.admission import BadRequest, Question, admit, read_question, refuse
from mts1b_operations.auth.keys import CalloutKeys
from mts1b_operations.auth.revoked import Revoked, RevokedError
from mts1b_operations.auth.roles import Role
from mts1b_operations.auth.tokens import Person, TokenRefused, Verifier

log = get_logger("mts1b.auth")

REPO: Final = "mts1b-auth"
"""The identity that the responder's certificate carries."""
SUBJECT: Final = "$SYS.REQ.USER.AUTH"
QUEUE: Final = "mts1b-auth"
AT_ONCE: Final = 256
"""Questions that are answered side by side; more are refused at once."""
_XKEY: Final = "Nats-Server-Xkey"


class Responder:
    """Answers the server on ``bus``, which must speak as ``mts1b-auth``."""

    def __init__(
        self,
        bus: EventBus,
        keys: CalloutKeys,
        verifier: Verifier,
        roles: Mapping[str, Role],
        revoked: Revoked | None = None,
    ) -> None:
        self.admitted = 0
        self.refused = 0
        self._revoked = revoked
        self._tasks: set[asyncio.Task[None]] = set()
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
        if len(self._tasks) >= AT_ONCE:
            await self._respond(msg, sender, self._refuse(question, f"{AT_ONCE} others are being let in: come again"))
            return
        task = asyncio.create_task(self._answer(msg, sender, question), name="let somebody in")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, msg: Message, sender: str | None, question: Question) -> None:
        try:
            answer = await self._decide(question)
        except Exception:
            log.exception("a question was not answered as it should")
            answer = self._refuse(question, "the responder failed")
        await self._respond(msg, sender, answer)

    async def _respond(self, msg: Message, sender: str | None, answer: str) -> None:
        await self.bus.publish(msg.reply, self._keys.curve.seal(answer.encode(), sender or ""))

    def _refuse(self, question: Question, reason: str) -> str:
        self.refused += 1
        log.warning("refused", client=question.client, reason=reason)
        return refuse(question, reason, self._keys.issuer)

    async def _decide(self, question: Question) -> str:
        try:
            if not question.websocket:
                raise TokenRefused("people come by websocket; on this listener a certificate says who somebody is")
            if not question.token:
                raise TokenRefused("no token was sent")
            person = await self._verifier.verify(question.token)
            if self._revoked is not None and (why := self._revoked.why(person.name)) is not None:
                raise TokenRefused(f"{person.name} was thrown out: {why}")
            roles = self._known(person)
        except (TokenRefused, RevokedError) as error:
            return self._refuse(question, str(error))
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
