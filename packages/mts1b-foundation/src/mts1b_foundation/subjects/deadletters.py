"""The subject on which a service says that it gave up on a message; every service has one of its own."""

import re
from collections.abc import Iterable
from typing import Final

from mts1b_foundation.deadletters import DeadLetter
from mts1b_foundation.subjects.subject import DurableSubject, Tier

_NO_TOKEN: Final = re.compile("[^a-z0-9_]")


def deadletter_subject(repo: str, claims: Iterable[str] = ()) -> DurableSubject[DeadLetter]:
    """The dead-letter subject of ``repo``, which claims ``claims`` (none: it publishes nothing else).

    Below the first token that it claims. A repo that claims none, or patterns only, has one made of its name: the
    subject of ``mts1b-fill-audit`` is ``mts.v1.fill_audit.deadletters.created``.
    """
    tokens = (claim for claim in claims if "." not in claim)
    own = next(tokens, None) or _NO_TOKEN.sub("_", repo.removeprefix("mts1b-").lower())
    return DurableSubject(
        f"mts.v1.{own}.deadletters.created",
        producer=repo,
        payload=DeadLetter,
        tier=Tier.AT_LEAST_ONCE,
        description=f"{repo} gave up on a message.",
        dedupe_key="{dead_letter_id}",
    )
