"""What each service may do on the bus, derived from the registry and the declared consumers; nothing by hand.

A service may publish below the prefix that it claims, but for what it has granted to another repo, on its own
dead-letter subject (one that reads only has nothing else), answer requests, and pull and acknowledge its own
durables. It may read ``mts.>`` and its own inbox. It may not create, change, pause or delete anything: that is the
administration's (``mts1b-deploy``), which in turn may publish no event.

Whoever hears an event that was published to a stream sees where its producer waits for the ack. So nobody may publish
into another's inbox; services answer each other on subjects of their own, ``_SVC.<asker>.…``.

NATS does not check reply subjects, so a right to ask is also a right to have the answer sent anywhere. What a service
may ask is therefore kept to what answers with nothing that could pass for an event: see ``docs/security.md``.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from mts1b_foundation.subjects import Grant as Handed
from mts1b_foundation.subjects import encode_token
from mts1b_foundation.subjects.algebra import covers, overlaps
from mts1b_foundation.subjects.contributions import ConsumerDeclaration, claim_pattern
from mts1b_foundation.subjects.sources import Sources, claims_of, contested_deadletters, deadletters_in, grants_of
from mts1b_platform.eventbus.consumers import ConsumerDefinition, group_subject
from mts1b_platform.eventbus.declared import declared
from mts1b_platform.eventbus.dedupe.kv import BUCKET

from mts1b_deploy.errors import UnknownName

ADMIN: Final = "mts1b-deploy"
"""Creates streams and consumers; publishes no events."""
OPERATIONS: Final = "mts1b-operations"
"""Looks at everything, on top of what it publishes itself."""
AUTH: Final = "mts1b-auth"
"""Lets people in: the auth-callout responder, in an account of its own."""
READER: Final = "mts1b-reader"
"""Looks at everything about the bus and publishes no event: what the looks of people are answered from."""
LOOK: Final = "mts1b-look"
"""Answers people's questions (``look.v1.>``), in an account that only answers."""
ACT: Final = "mts1b-act"
"""Answers people's requests to do something (``act.v1.>``), in the same account."""
SYSTEM: Final = "mts1b-system"
"""Whose certificate opens the system account: server events, lame duck, ending a connection; no events."""
APART: Final = (AUTH, SYSTEM, LOOK, ACT)
"""Identities outside the account of services."""

_LOOK: Final = (
    "$JS.API.INFO",
    "$JS.API.STREAM.LIST",
    "$JS.API.STREAM.INFO.*",
    "$JS.API.CONSUMER.LIST.*",
    "$JS.API.CONSUMER.NAMES.*",
    "$JS.API.CONSUMER.INFO.*.*",
    "$JS.API.STREAM.MSG.GET.*",
)
"""Questions whose answers are JSON about the bus: sent astray, none of them passes for an event."""


@dataclass(frozen=True, slots=True)
class Grant:
    """One thing that is allowed, and why."""

    action: Literal["publish", "subscribe", "deny"]
    """``deny``: may not be published on, though a wider line allows it."""
    subject: str
    why: str


@dataclass(frozen=True, slots=True)
class Permissions:
    """Everything that one service may do. What is not granted is refused."""

    repo: str
    grants: tuple[Grant, ...]
    problems: tuple[str, ...] = field(default=())
    """Declared durables that are not granted, because granting them would open a hole."""

    @property
    def publish(self) -> tuple[str, ...]:
        """Subjects it may publish on."""
        return tuple(grant.subject for grant in self.grants if grant.action == "publish")

    @property
    def deny(self) -> tuple[str, ...]:
        """Subjects that it may not publish on, though :attr:`publish` has them."""
        return tuple(grant.subject for grant in self.grants if grant.action == "deny")

    @property
    def subscribe(self) -> tuple[str, ...]:
        """Subjects it may subscribe to."""
        return tuple(grant.subject for grant in self.grants if grant.action == "subscribe")


def inbox_prefix(repo: str) -> str:
    """Where answers to ``repo`` arrive; no other service may listen there."""
    return f"_INBOX_{repo}"


def all_permissions(sources: Sources | None = None) -> dict[str, Permissions]:
    """The permissions of every service that publishes or consumes, and of the administration, by repo."""
    found = declared().sources if sources is None else sources
    claims = {repo: [claim_pattern(each) for each in values] for repo, values in claims_of(found).items()}
    letters, contested = deadletters_in(found), contested_deadletters(found)
    consumers = [each for source in found for each in source.consumers]
    stored = {stream.name: stream.subjects for source in found for stream in source.streams}
    handed_on = grants_of(found)
    granted: dict[str, Permissions] = {}
    for repo in sorted({*letters, OPERATIONS} - {ADMIN, READER, *APART}):
        (letter,) = letters[repo].patterns
        own = [each for each in handed_on if each.by == repo]
        granted[repo] = _of(repo, claims.get(repo, []), own, letter, contested.get(repo), _own(repo, consumers), stored)
    return granted | {READER: _reader(), ADMIN: _admin()}


def permissions_of(repo: str, sources: Sources | None = None) -> Permissions:
    """The permissions of one service.

    Raises:
        UnknownName: no such service publishes or consumes.
    """
    known = all_permissions(sources)
    if repo not in known:
        raise UnknownName(
            f"{repo!r} is no service of this bus: known are {', '.join(known)}. A repo becomes one by an entry point "
            "in mts1b.subjects or mts1b.consumers"
        )
    return known[repo]


def _of(
    repo: str,
    claims: Collection[str],
    handed_on: Collection[Handed],
    letter: str,
    owner: str | None,
    consumers: Collection[ConsumerDeclaration],
    streams: Mapping[str, Collection[str]],
) -> Permissions:
    grants: list[Grant] = []
    problems: list[str] = []
    read: set[str] = set()

    def publish(subject: str, why: str) -> None:
        grants.append(Grant("publish", subject, why))

    def subscribe(subject: str, why: str) -> None:
        grants.append(Grant("subscribe", subject, why))

    for claim in claims:
        publish(claim, "its own events")
    grants.extend(Grant("deny", each.pattern, f"granted to {each.to}") for each in handed_on)
    if owner is not None:
        problems.append(f"its dead letters, {letter}, which is {owner}'s: what it gives up on comes back for ever")
    elif not covers(claims, letter):
        publish(letter, "its dead letters")
        claims = (*claims, letter)
    for each in consumers:
        if own := [wanted for wanted in each.filters if any(overlaps(wanted, claim) for claim in claims)]:
            problems.append(
                f"durable {each.durable} on {each.stream} reads {', '.join(own)}, which {repo} publishes itself: "
                "pulled with a foreign reply subject, its own event would come out as somebody else's"
            )
            continue
        at = f"{each.stream}.{each.durable}"
        publish(f"$JS.API.CONSUMER.INFO.{at}", f"durable {each.durable}: does it exist")
        publish(f"$JS.API.CONSUMER.MSG.NEXT.{at}", f"durable {each.durable}: pull")
        if isinstance(each, ConsumerDefinition) and each.pinned:
            publish(f"$JS.API.CONSUMER.UNPIN.{at}", f"durable {each.durable}: hand over to another instance")
        publish(f"$JS.ACK.{at}.>", f"durable {each.durable}: acknowledge")
        read.add(each.stream)
        publish(f"$KV.{BUCKET}.{encode_token(each.durable)}.>", f"durable {each.durable}: what was handled before")
        tries = f"$KV.{BUCKET}.tries.{encode_token(each.stream)}.{encode_token(each.durable)}.>"
        publish(tries, f"durable {each.durable}: how often an event was tried")
    for spoken in dict.fromkeys(
        group_subject(each.stream, each.group)
        for each in consumers
        if isinstance(each, ConsumerDefinition) and each.group
    ):
        publish(spoken, "tell the other instances that it is there")
        subscribe(spoken, "hear the other instances")
    if consumers:
        publish(f"$JS.API.STREAM.INFO.KV_{BUCKET}", "dedupe store: does it exist")
        publish(f"$JS.API.STREAM.MSG.GET.KV_{BUCKET}", "dedupe store: read a mark")
    for name, subjects in streams.items():
        own = any(overlaps(subject, claim) for subject in subjects for claim in claims)
        if repo == OPERATIONS or not (own or name in read):
            continue
        # The answers are JSON, also around a message: sent astray, none passes for an event.
        why = "was a publish stored whose ack was lost" if own else "what does a stream hold that it reads"
        publish(f"$JS.API.STREAM.MSG.GET.{name}", why)
        if name in read:
            publish(f"$JS.API.STREAM.INFO.{name}", "where does a stream end that it reads")
    publish("$JS.API.STREAM.NAMES", "which stream stores a subject")
    if repo == OPERATIONS:
        for subject in _LOOK:
            publish(subject, "lag, drift, dead letters, halts")
        publish("$JS.API.STREAM.MSG.DELETE.DEADLETTERS", "take away a dead letter that was dealt with")
        publish("svc.v1.>", "ask every service")
        publish("$SRV.>", "find services")
        subscribe("$JS.EVENT.ADVISORY.>", "what JetStream reports")
    else:
        publish("svc.v1.marketdata.*", "ask for market data again")
        publish("svc.v1.*.status", "ask whether a service is ready")
        publish("svc.v1.*.progress", "ask how far a service is")
        grants.append(Grant("deny", "svc.v1.*.requeue", "to have an event published again is the operations' alone"))
    publish("_SVC.>", "answer services that asked")
    subscribe("mts.>", "every event")
    subscribe(f"{inbox_prefix(repo)}.>", "acks and answers of the server")
    subscribe(f"_SVC.{repo}.>", "answers of services")
    subscribe(f"svc.v1.{repo.removeprefix('mts1b-')}.>", "questions to it")
    subscribe("$SRV.>", "be found")
    return Permissions(repo, tuple(grants), tuple(problems))


def _reader() -> Permissions:
    return Permissions(
        READER,
        (
            *(Grant("publish", subject, "lag, drift, dead letters, halts") for subject in _LOOK),
            Grant("publish", "$SRV.>", "find services"),
            Grant("subscribe", f"{inbox_prefix(READER)}.>", "answers of the server"),
            Grant("subscribe", f"_SVC.{READER}.>", "answers of services"),
        ),
    )


def _admin() -> Permissions:
    why = "streams, consumers, backups"
    return Permissions(
        ADMIN,
        (
            Grant("publish", "$JS.API.>", why),
            Grant("publish", "$JS.SNAPSHOT.>", why),
            Grant("publish", "$JS.FC.>", why),
            Grant("subscribe", f"{inbox_prefix(ADMIN)}.>", "answers of the server"),
            Grant("subscribe", "$JS.EVENT.>", "what JetStream reports"),
        ),
    )


def _own(repo: str, consumers: Iterable[ConsumerDeclaration]) -> list[ConsumerDeclaration]:
    return [each for each in _once(consumers) if each.service == repo]


def _once(consumers: Iterable[ConsumerDeclaration]) -> Iterator[ConsumerDeclaration]:
    """Each durable once; of two services that claim one name in one stream the first has it."""
    seen: set[tuple[str, str]] = set()
    for each in consumers:
        if (each.stream, each.durable) not in seen:
            seen.add((each.stream, each.durable))
            yield each
