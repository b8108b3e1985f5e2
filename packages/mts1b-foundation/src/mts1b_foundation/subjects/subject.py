"""A registered subject: the one place that knows its pattern, owner, payload, guarantee and message id.

Two families exist:

- *verb subjects*, ``mts.<version>.<repo>.<noun>.<verb>``, optionally followed by ``.fund.<fund_id>`` when the
  payload names a fund;
- *keyed subjects*, which hold ``{parameters}`` named like the payload's fields, such as
  ``mts.v1.marketdata.quotes.{symbol}``.

``Subject[T]`` carries its payload type, so that ``emit(OMS_ORDERS_CREATED, fill)`` is refused by the editor.
"""

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from mts1b_foundation.declared import Defect, declaration_site, report_defect, site_of
from mts1b_foundation.errors import InvalidSubject, SubjectError, UnknownParameter
from mts1b_foundation.event import Event
from mts1b_foundation.roundtrip import Problem, plain, unreadable
from mts1b_foundation.subjects.tokens import decode_token, encode_token

T = TypeVar("T", bound=Event)

FUND = "fund_id"
"""The parameter, and the payload field, that scopes an event to one fund."""

NAMES = ("order_id", "idempotency_key", "signal_id", "halt_id", "execution_id")
"""The names that tie events together across subjects; a payload with a field of such a name says what it is about.

An order, the intent that it records, the signal that led to it, a halt, one execution at a broker."""

_LITERAL = re.compile(r"[a-z0-9_]+")
_PARAMETER = re.compile(r"\{([a-z_]+)\}")
_ONE_FIELD = re.compile(r"([^{}]*)\{([a-z_]+)\}([^{}]*)")
_VERSION = re.compile(r"v[1-9][0-9]*")
_FIELD = re.compile(r"\{([a-z_]+)\}")


class Tier(StrEnum):
    """What the bus promises for the events of a subject."""

    BEST_EFFORT = "best-effort"
    """NATS Core: delivered to whoever listens now; dropped and counted while disconnected."""
    AT_LEAST_ONCE = "at-least-once"
    """JetStream: stored before the producer goes on, redelivered until a consumer has dealt with it."""
    DEDUPE = "at-least-once+dedupe"
    """As at-least-once, and consumers act once per ``idempotency_key`` however often it is stored."""

    @property
    def durable(self) -> bool:
        """Whether a stream stores the events."""
        return self is not Tier.BEST_EFFORT


class Subject(Generic[T]):
    """One registered subject with payload ``T``. Immutable; compares by pattern.

    Args:
        pattern: the subject with ``{parameters}`` in place of keyed tokens, never with the fund suffix.
        producer: the one repo that publishes it, such as ``mts1b-oms``.
        payload: the model of its events.
        tier: what is promised for its events.
        description: one line for people.
        dedupe_key: template over the payload's fields that names an event; it becomes ``Nats-Msg-Id``. It must
            differ between subjects that share a stream, as the server compares ids per stream.
        replaces: the subject of the version before, while both are in use; readers of this one read that one too.
        correlates: what the payload calls a name that ties events together, where it has a word of its own for it,
            such as ``{"order_id": "client_order_id"}``; and further names of the same kind, such as
            ``{"basket_id": "basket_id"}``. Those of :data:`NAMES` that are fields go without saying.

    Raises:
        InvalidSubject: when the declaration breaks the grammar, or no reader could read what is written of the
            payload; the message names the fields.
    """

    __slots__ = (
        "_fund_prefix",
        "_prefix",
        "_single",
                "declared_at",
        "dedupe_key",
        "description",
        "names",
        "parameters",
        "pattern",
        "payload",
        "producer",
        "replaces",
        "schema_id",
        "single_key",
        "tier",
        "tokens",
    )  # fmt: skip

    def __init__(
        self,
        pattern: str,
        *,
        producer: str,
        payload: type[T],
        tier: Tier,
        description: str,
        dedupe_key: str | None = None,
        replaces: "Subject[Any] | None" = None,
        correlates: Mapping[str, str] | None = None,
    ) -> None:
        self.declared_at = declaration_site()
        self.pattern = pattern
        self.producer = producer
        self.payload = payload
        self.schema_id = payload.schema_id()
        self.tier = tier
        self.description = description
        self.dedupe_key = dedupe_key
        self.single_key = _single_field(dedupe_key)
        """A dedupe key of one field: what precedes the field, its name, what follows it; None for any other key."""
        self.replaces = replaces
        own = {name: name for name in NAMES if name in payload.model_fields}
        self.names: Mapping[str, str] = MappingProxyType(own | dict(correlates or {}))
        """What ties its events to others: the name that all subjects share, and this payload's field that holds it."""
        try:
            self.tokens: tuple[str, ...] = _split(pattern)
            self.parameters: tuple[str, ...] = tuple(
                match[1] for token in self.tokens if (match := _PARAMETER.fullmatch(token))
            )
            self._check()
        except InvalidSubject as error:
            if not report_defect(Defect(self.declared_at, str(error))):
                raise
            self.tokens, self.parameters = (), ()
            return  # a check collects every defect; see Subject.broken
        if not plain(payload) and (problems := unreadable(payload)):
            if not report_defect(*_defects(payload, problems)):
                raise InvalidSubject(_unreadable(pattern, payload, problems))
            self.tokens, self.parameters = (), ()
            return
        self._fund_prefix = f"{pattern}.fund."
        single = len(self.parameters) == 1 and _PARAMETER.fullmatch(self.tokens[-1]) is not None
        self._single = self.parameters[0] if single else None
        self._prefix = pattern[: pattern.index("{")] if single else ""

    def __repr__(self) -> str:
        return f"<Subject {self.pattern} of {self.producer}: {self.payload.__name__}, {self.tier}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Subject) and self.pattern == other.pattern

    def __hash__(self) -> int:
        return hash(self.pattern)

    @property
    def broken(self) -> bool:
        """Whether the declaration broke a rule while a check was collecting; such a subject is not used."""
        return not self.tokens

    @property
    def version(self) -> str:
        """The version token, such as ``v1``."""
        return self.tokens[1]

    @property
    def lineage(self) -> "tuple[Subject[Any], ...]":
        """This subject and those that it replaces, newest first."""
        return (self,) if self.replaces is None else (self, *self.replaces.lineage)

    def is_a(self, *others: "Subject[Any]") -> bool:
        """Whether this subject, or one that it replaces, is one of ``others``: whatever the version."""
        return any(each in others for each in self.lineage)

    @property
    def keyed(self) -> bool:
        """Whether the subject holds parameters; otherwise it is a verb subject."""
        return bool(self.parameters)

    @property
    def fund_scoped(self) -> bool:
        """Whether events may carry the suffix ``.fund.<fund_id>``."""
        return not self.keyed and FUND in self.payload.model_fields

    @property
    def patterns(self) -> tuple[str, ...]:
        """Every form the subject takes on the wire, with ``*`` for parameters."""
        bare = _PARAMETER.sub("*", self.pattern)
        return (bare, f"{bare}.fund.*") if self.fund_scoped else (bare,)

    def format(self, event: T) -> str:
        """The concrete subject of ``event``: parameters and fund taken from its fields.

        Raises:
            SubjectError: when ``event`` is not of this subject's payload type.
            UnknownParameter: when the field for a parameter is empty.
        """
        if type(event) is not self.payload:
            raise SubjectError(
                f"{self.pattern} carries {self.payload.__name__}, not {type(event).__name__}: "
                f"publish {type(event).__name__} on the subject registered for it"
            )
        fields = event.__dict__
        if self._single is not None:
            return self._prefix + encode_token(fields[self._single])
        if not self.parameters:
            fund = fields.get(FUND)
            return self.pattern if fund is None else self._fund_prefix + encode_token(fund)
        return ".".join(self._token(token, fields) for token in self.tokens)

    def message_id(self, event: T) -> str | None:
        """The ``Nats-Msg-Id`` of ``event`` by the dedupe key; None for a subject without one."""
        key, fields = self.single_key, event.__dict__
        if key is not None and type(value := fields[key[1]]) is str:
            return key[0] + value + key[2]  # what the line below gives, in a fifth of the time
        return None if self.dedupe_key is None else self.dedupe_key.format_map(fields)

    def names_of(self, fields: Mapping[str, Any]) -> dict[str, str]:
        """What an event is about: the order, the signal and so on that its ``fields`` name.

        Args:
            fields: of a payload, by name: its ``__dict__``, or its JSON as it came.
        """
        about: dict[str, str] = {}
        for name, field in self.names.items():
            if isinstance(value := fields.get(field), str) and value:
                about[name] = value
        return about

    def filters(self, **parameters: str | None) -> tuple[str, ...]:
        """The subjects to subscribe to: both forms of a verb subject, or the one fund or key asked for.

        Parameters left out (or None) match everything. What this subject replaces is asked for too.

        Raises:
            UnknownParameter: when a name is none of this subject's, or a value is a wildcard.
            InvalidToken: when a value is empty.
        """
        given = {name: value for name, value in parameters.items() if value is not None}
        return tuple(form for subject in self.lineage for form in subject.own_filters(given))

    def own_filters(self, given: Mapping[str, str]) -> tuple[str, ...]:
        """As :meth:`filters`, without the subjects that this one replaces."""
        known = (*self.parameters, FUND) if self.fund_scoped else self.parameters
        for name, value in given.items():
            if name not in known:
                has = f"it has {', '.join(known)}" if known else "it has none"
                raise UnknownParameter(f"{self.pattern} has no parameter {name!r}: {has}")
            if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise UnknownParameter(f"{self.pattern}: {name}={value!r} is no text")
            if value in ("*", ">"):
                raise UnknownParameter(f"{self.pattern}: {name}={value!r} is no value; leave {name} out to match all")
        if self.fund_scoped:
            fund = given.get(FUND)
            return self.patterns if fund is None else (self._fund_prefix + encode_token(fund),)
        return (".".join(self._token(token, {p: given.get(p) for p in self.parameters}) for token in self.tokens),)

    def parse(self, concrete: str) -> dict[str, str] | None:
        """The parameters (and ``fund_id``) that ``concrete`` carries, decoded; None when it is not of this subject.

        Raises:
            InvalidToken: when a token in a parameter's place is no encoded value.
        """
        tokens = concrete.split(".")
        size = len(self.tokens)
        found: dict[str, str] = {}
        if len(tokens) == size + 2 and self.fund_scoped and tokens[size] == "fund":
            found[FUND] = decode_token(tokens[-1])
            del tokens[size:]
        if len(tokens) != size:
            return None
        for mine, token in zip(self.tokens, tokens, strict=True):
            if match := _PARAMETER.fullmatch(mine):
                found[match[1]] = decode_token(token)
            elif mine != token:
                return None
        return found

    def _token(self, token: str, values: Mapping[str, str | None]) -> str:
        match = _PARAMETER.fullmatch(token)
        if match is None:
            return token
        value = values[match[1]]
        return "*" if value is None else encode_token(value)

    def _check(self) -> None:
        fields = self.payload.model_fields
        for name in self.parameters:
            if name not in fields:
                raise InvalidSubject(f"{self.pattern}: {self.payload.__name__} has no field {name!r} to fill it from")
        if len(set(self.parameters)) != len(self.parameters):
            raise InvalidSubject(f"{self.pattern}: a parameter stands twice; name each once")
        for name in _FIELD.findall(self.dedupe_key or ""):
            if name not in fields:
                raise InvalidSubject(f"{self.pattern}: dedupe key names {name!r}, no field of {self.payload.__name__}")
        for name, field in self.names.items():
            if field not in fields:
                raise InvalidSubject(
                    f"{self.pattern}: correlates {name!r} by {field!r}, no field of {self.payload.__name__}"
                )
            if not _LITERAL.fullmatch(name):
                raise InvalidSubject(f"{self.pattern}: correlates {name!r}, which is no name of lower-case letters")
        if self.tier.durable and self.dedupe_key is None:
            raise InvalidSubject(f"{self.pattern}: a durable subject needs a dedupe key, or retries are stored twice")
        if self.tier is Tier.DEDUPE and "idempotency_key" not in fields:
            raise InvalidSubject(
                f"{self.pattern}: consumers dedupe by idempotency_key, {self.payload.__name__} has none"
            )


class DurableSubject(Subject[T]):
    """A subject that a stream stores: the only kind that can be consumed with acknowledgement."""

    __slots__ = ()

    def _check(self) -> None:
        super()._check()
        if not self.tier.durable:
            raise InvalidSubject(f"{self.pattern}: tier {self.tier} is not stored; declare it as a plain Subject")


def _single_field(key: str | None) -> tuple[str, str, str] | None:
    """A dedupe key of one field as what precedes the field, its name, and what follows it; None for any other key."""
    match = _ONE_FIELD.fullmatch(key or "")
    return (match[1], match[2], match[3]) if match else None


def _unreadable(pattern: str, payload: type[Event], problems: Sequence[Problem]) -> str:
    lines = (f"  {payload.__name__}.{problem.about}; {problem.remedy}" for problem in problems)
    return "\n".join([f"{pattern}: no reader gets {payload.__name__} as it was written:", *lines])


def _defects(payload: type[Event], problems: Sequence[Problem]) -> list[Defect]:
    return [
        Defect(site_of(payload, each.field), f"{payload.__name__}.{each.about}", "payload-unreadable", each.remedy)
        for each in problems
    ]


def _split(pattern: str) -> tuple[str, ...]:
    tokens = tuple(pattern.split("."))
    if len(tokens) < 5:
        raise InvalidSubject(f"{pattern!r} is too short: mts.<version>.<repo>.<noun>.<verb> has five tokens")
    if tokens[0] != "mts":
        raise InvalidSubject(f"{pattern!r} starts with {tokens[0]!r}: every subject starts with mts")
    if not _VERSION.fullmatch(tokens[1]):
        raise InvalidSubject(f"{pattern!r} has {tokens[1]!r} in the place of the version: write v1, v2, …")
    for token in tokens[2:]:
        if not _LITERAL.fullmatch(token) and not _PARAMETER.fullmatch(token):
            raise InvalidSubject(f"{pattern!r}: token {token!r} is neither lower-case text nor a {{parameter}}")
    if _PARAMETER.search(pattern) is None and len(tokens) != 5:
        raise InvalidSubject(f"{pattern!r}: a verb subject has five tokens, mts.<version>.<repo>.<noun>.<verb>")
    return tokens
