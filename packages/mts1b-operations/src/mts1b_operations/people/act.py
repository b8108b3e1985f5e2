"""Acting for people, step by step: who, is it still what was shown, how often, written down, done, answered.

::

    preview   {"preview": true, …}                               what would be done, in words, and a digest of it
    act       {"request_id", "digest", "reason", …}              the same request id twice is one action
    order     {"run_id", "order": "go-on" | "stop" | "end"}      of what was begun with {"run": true, "first": 1}

What adds risk is done only when it is still what the preview said, and when the audit log has it first. A halt waits
for neither: it needs no digest, and bookkeeping that fails or stands still is logged and holds up nothing. So do
saying that somebody looks after an alert, and a note on dead letters.
"""

import asyncio
import hashlib
import json
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Mapping
from functools import partial
from typing import Any, Final, TypeVar

from mts1b_platform.eventbus import BusError, EventBus
from mts1b_platform.logs import get_logger
from mts1b_platform.observability.audit import AuditError, audit_action
from mts1b_platform.threads import in_thread

from mts1b_operations.people.action import REASON, Action
from mts1b_operations.people.actions import ACTIONS
from mts1b_operations.people.asked import AT_WORK, Asked, Declined
from mts1b_operations.people.once import Held, Requests
from mts1b_operations.people.orders import order, order_of
from mts1b_operations.people.runner import Runner
from mts1b_operations.people.runs import Runs

log = get_logger("mts1b.people.act")
T = TypeVar("T")

BRIEFLY: Final = 0.5
"""Seconds for which the bookkeeping of a halt, or what else must not wait, is waited for."""
AUDITED_WITHIN: Final = 5.0
"""Seconds for which the audit log is waited for, by what needs it."""
MOST_A_MINUTE: Final = 30
"""Actions that add risk, of one person."""
_MINUTE: Final = 60.0


class Acts:
    """Does on ``bus``, which speaks as the operations, what people ask for."""

    def __init__(self, bus: EventBus, actions: Mapping[str, Action] | None = None) -> None:
        self._bus = bus
        self._actions = ACTIONS if actions is None else actions
        self._requests = Requests(bus)
        self.runner = Runner(bus)
        """Carries runs through, while inside ``async with``."""
        self._at_work: set[str] = set()
        self._lately: defaultdict[str, deque[float]] = defaultdict(deque)

    async def answer(self, asked: Asked) -> Mapping[str, Any]:
        """What was done, or with ``preview`` would be.

        Raises:
            Declined: nothing was done, and why.
            BusError: the server did not answer in the middle; the same request again goes on with it.
        """
        action = self._actions.get(asked.what)
        if action is None:
            raise Declined("unknown", f"there is no action {asked.what!r}", f"one of {', '.join(self._actions)}")
        if "run_id" in asked.body:
            return await self._ordered(asked)
        if asked.body.get("preview"):
            preview = await action.preview(self._bus, asked)
            return {"preview": preview.words, "facts": preview.facts, "digest": digest_of(asked, preview.facts)}
        request_id = asked.text("request_id", least=8, most=100)
        if request_id in self._at_work:
            raise Declined(AT_WORK, "this request is at work here", "ask again in a second")
        self._at_work.add(request_id)
        try:
            if action.adds_risk:
                return await self._with_care(action, asked, request_id)
            return await self._at_once(action, asked, request_id)
        finally:
            self._at_work.discard(request_id)
            self.runner.wake()

    async def _ordered(self, asked: Asked) -> Mapping[str, Any]:
        """Have a run go on, stop or end. Going on adds risk: it is written down first, or not done."""
        wanted = order_of(asked)
        if wanted == "go-on":
            await self._audit(asked, asked.text("run_id"), "go on", {"run_id": asked.text("run_id")})
        held = await order(Runs(self._bus), asked, wanted)
        self.runner.wake()
        if wanted != "go-on":
            await _briefly(self._audit(asked, held.run.run_id, wanted, {"run_id": held.run.run_id}))
        return {"run_id": held.run.run_id, "by": asked.by, "state": held.progress.state}

    def at_once(self, what: str) -> bool:
        """Whether this is an action that waits for nothing."""
        action = self._actions.get(what)
        return action is not None and not action.adds_risk

    async def _at_once(self, action: Action, asked: Asked, request_id: str) -> Mapping[str, Any]:
        preview = await action.preview(self._bus, asked)
        digest = digest_of(asked, preview.facts)
        held = await _briefly(
            self._requests.begin(request_id, asked.by, f"{asked.what}.{asked.scope}", digest, preview.facts)
        )
        if held is not None:
            _refuse_another(held, asked, digest)
            if held.request.answer is not None:
                return {**held.request.answer, "again": True}
        result = await action.do(self._bus, asked, preview.facts, request_id=request_id, again=False)
        answer = _answer(asked, request_id, result)
        if held is not None:
            await _briefly(self._requests.finish(held, answer))
        return answer

    async def _with_care(self, action: Action, asked: Asked, request_id: str) -> Mapping[str, Any]:
        given = asked.text("digest", least=1, most=100)
        reason = asked.text("reason", least=REASON)
        held = await self._requests.find(request_id)
        again = held is not None
        if held is None:
            preview = await action.preview(self._bus, asked)
            if digest_of(asked, preview.facts) != given:
                raise Declined("changed", f"it is not what was shown any more; now it {preview.words}", "look again")
            self._count(asked)
            await self._audit(asked, request_id, reason, preview.facts)
            held = await self._requests.begin(request_id, asked.by, f"{asked.what}.{asked.scope}", given, preview.facts)
        _refuse_another(held, asked, given)
        if held.request.answer is not None:
            return {**held.request.answer, "again": True}
        if again:
            log.warning("going on with a request that was begun before", request_id=request_id, person=asked.by)
        result = await action.do(self._bus, asked, held.request.facts, request_id=request_id, again=again)
        answer = _answer(asked, request_id, result)
        await self._requests.finish(held, answer)
        return answer

    def _count(self, asked: Asked) -> None:
        """Take note of an action.

        Raises:
            Declined: there were too many within a minute.
        """
        now = time.monotonic()
        lately = self._lately[asked.by]
        while lately and now - lately[0] > _MINUTE:
            lately.popleft()
        if len(lately) >= MOST_A_MINUTE:
            wait = _MINUTE - (now - lately[0])
            raise Declined(
                "too-often", f"{asked.by} has acted {MOST_A_MINUTE} times within a minute", f"wait {wait:.0f} s"
            )
        lately.append(now)

    async def _audit(self, asked: Asked, request_id: str, reason: str, facts: Mapping[str, Any]) -> None:
        """Write down what is about to be done.

        Raises:
            Declined: it cannot be; so it is not done.
        """
        record = partial(
            audit_action,
            self._bus,
            f"act.{asked.what}",
            actor=asked.by,
            address=asked.address,
            request_id=request_id,
            scope=str(asked.scope),
            reason=reason,
            facts=dict(facts),
        )
        try:
            async with asyncio.timeout(AUDITED_WITHIN):
                written = await in_thread(record)
        except (AuditError, TimeoutError) as error:
            why = str(error) or f"it took longer than {AUDITED_WITHIN:g} s"
            raise Declined("not-audited", f"it cannot be written down ({why}), so it is not done") from None
        if not written:
            raise Declined(
                "not-audited",
                "the responder has no audit log, so nothing that adds risk is done",
                "set MTS1B_AUDIT_DIR for `mts1b act serve`",
            )


def digest_of(asked: Asked, facts: Mapping[str, Any]) -> str:
    """What identifies an action: what, for which fund, about what."""
    text = json.dumps([asked.what, str(asked.scope), facts], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _refuse_another(held: Held, asked: Asked, digest: str) -> None:
    """Raise when the id was used for something else.

    Raises:
        Declined: it was, or by somebody else.
    """
    request = held.request
    if (request.by, request.subject, request.digest) != (asked.by, f"{asked.what}.{asked.scope}", digest):
        raise Declined("id-used", "this request id was used for another request", "use a new one")


def _answer(asked: Asked, request_id: str, result: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"request_id": request_id, "by": asked.by, "state": "done", **result}


async def _briefly(work: Awaitable[T]) -> T | None:
    """What comes of bookkeeping within half a second; None, and a word in the log, when nothing does."""
    try:
        async with asyncio.timeout(BRIEFLY):
            return await work
    except (BusError, Declined, TimeoutError) as error:
        log.error(
            "what must not wait goes on without its bookkeeping", error=str(error) or f"nothing within {BRIEFLY:g} s"
        )
        return None
