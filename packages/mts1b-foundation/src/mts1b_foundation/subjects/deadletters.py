"""The subject on which a service says that it gave up on a message; every service has one of its own."""

import re
from typing import Final

from mts1b_foundation.deadletters import DeadLetter
from mts1b_foundation.subjects.subject import DurableSubject, Tier

_NO_TOKEN: Final = re.compile("[^a-z0-9_]")


def deadletter_subject(repo: str, claim: str | None = None) -> DurableSubject[DeadLetter]:
    """The dead-letter subject of ``repo``, which claims ``claim`` (None: it publishes nothing else).

    Below the token that it claims. A repo that claims none, or a pattern, has one made of its name: the subject of
    ``mts1b-fill-audit`` is ``mts.v1.fill_audit.deadletters.created``.
    """
    own = claim if claim and "." not in claim else _NO_TOKEN.sub("_", repo.removeprefix("mts1b-").lower())
    return DurableSubject(
        f"mts.v1.{own}.deadletters.created",
        producer=repo,
        payload=DeadLetter,
        tier=Tier.AT_LEAST_ONCE,
        description=f"{repo} gave up on a message.",
        dedupe_key="{dead_letter_id}",
    )
