"""Which form of the hot path is at work: the compiled core, or pure Python.

Pure Python says what is right, and is what runs where ``mts1b-wire`` is not installed. The compiled core does the same
for what is common, several times as fast, and leaves the rest to it. ``MTS1B_PURE=1`` switches it off;
``MTS1B_CORE=required`` makes its absence an error.
"""

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Any, Final, Protocol, TypeAlias, cast

from mts1b_foundation.errors import words_of

from mts1b_platform.config import ConfigError
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.eventbus.core")

INTERFACE: Final = 10
"""What this release and the compiled core have agreed on; another number is another release's core."""

_ABSENT: Final = "mts1b-wire is not installed"
_REMEDY: Final = "`make setup` builds it anew"

ItemPlan = tuple[str, Mapping[str, Any], bool]
"""Kind of a value, options of the kind, whether null is allowed."""

FieldPlan = tuple[str, str, Mapping[str, Any], bool, bool, Any]
"""Name, kind, options of the kind, whether null is allowed, whether it must be there, what it is when left out."""

CasePlan = list[tuple[int, list[Any]]]
"""Places of fields, and the objects of which each holds one; without any, it holds something other than None."""

AfterPlan = tuple[Callable[[Any], Any], list[CasePlan]]
"""What validates a model as a whole, and the cases in which it passes."""


class Plan(Protocol):
    """Reads and writes the events of one model."""

    def decode(self, data: bytes, /) -> Any:
        """The event in ``data``, as pydantic would have it."""
        ...

    def encode(self, event: Any, /) -> bytes:
        """``event`` as JSON, as pydantic would write it."""
        ...

    @property
    def counts(self) -> tuple[int, int]:
        """How many payloads were decoded here, and how many were left to pydantic."""
        ...


class MakePlan(Protocol):
    """The class of plans."""

    def __call__(
        self,
        model: type[Any],
        fields: Sequence[FieldPlan],
        *,
        slots: Sequence[Any],
        after: AfterPlan | None,
        utc: Any,
        decode: Callable[[bytes], Any],
        encode: Callable[[Any], bytes],
        changed: Callable[[], object],
    ) -> Plan:
        """A plan of ``model``; ``decode`` and ``encode`` take what it leaves."""
        ...


class Scanner(Protocol):
    """Collects messages as the parser does, up to the first thing that is not one of a known subscription."""

    def route(self, sid: int, key: bytes, route: list[Any], /) -> None:
        """Collect the messages of ``sid``, which is spelled ``key``, in ``route``."""
        ...

    def unroute(self, sid: int, /) -> None:
        """Collect them no more."""
        ...

    def scan(self, data: bytes | memoryview, touched: list[bytes], begin: int = 0, /) -> tuple[int, int]:
        """Collect what is in ``data`` from ``begin`` on: how many bytes that was, and how many of them were payload."""
        ...


class Subjects(Protocol):
    """Decodes messages that begin like those that the decoder has seen."""

    def remember(self, subject: bytes, prefix: bytes, registered: Any, name: str, pattern: str, plan: Plan, /) -> None:
        """Read the messages of ``subject`` whose header block begins with ``prefix`` and goes on as ours do."""
        ...

    def decode(self, message: Any, /) -> tuple[Any, str, Any, bool] | None:
        """What the decoder says of ``message``; None when it has to look itself."""
        ...


class ListenReader(Protocol):
    """Iterates a listener."""

    def __aiter__(self) -> "ListenReader": ...

    def __anext__(self) -> Awaitable[Any]: ...

    def event(self, message: Any, /) -> Any:
        """The live event in ``message``, counted; None when the listener has to look itself."""
        ...


class OutBuffer(Protocol):
    """The hot half of the connection's buffer; see ``connection/outbound.py``."""

    up: bool
    scheduled: bool
    high_water: int
    max_payload: int
    dropped: int

    @property
    def waiting(self) -> int:
        """Bytes that wait."""
        ...

    @property
    def above_high_water(self) -> bool:
        """Whether more wait than the high-water mark says."""
        ...

    def send(self, frame: bytes, /) -> None:
        """Queue a frame that is kept."""
        ...

    def send_many(self, frames: list[bytes], /) -> None:
        """Queue frames that are kept, all or none."""
        ...

    def send_volatile(self, frame: bytes, /) -> bool:
        """Queue a frame that is worth nothing later."""
        ...

    def ack(self, reply: bytes, /) -> bool:
        """Acknowledge a delivery."""
        ...

    def control(self, line: bytes, /) -> None:
        """Queue a line for this server only."""
        ...

    def take(self) -> tuple[memoryview, int] | None:
        """Take all that waits, and how many messages that is; the bytes stay as they are while anybody has the view."""
        ...

    def frames(self) -> list[tuple[bytes, int]]:
        """Each frame that waits, and its kind."""
        ...

    def replace(self, frames: list[tuple[bytes, int]], /) -> None:
        """Let these wait, and no others."""
        ...


class Sender(Protocol):
    """Publishes the best-effort events of one subject."""

    def send_volatile(self, event: Any, trace_id: str | None = None) -> bool:
        """As :meth:`Publisher.send_volatile`."""
        ...


class MakeSender(Protocol):
    """The class of senders."""

    def __call__(
        self,
        *,
        pure: Callable[..., bool],
        trace_id_for: Callable[[], str],
        buffer: OutBuffer,
        plan: Plan,
        templates: dict[Any, Any],
        template: type[Any],
        names: Sequence[str],
        denials: Any,
        published: dict[str, int],
        pattern: str,
    ) -> Sender:
        """A sender that writes into ``buffer`` and asks ``pure`` for what is not common."""
        ...


class Drafts(Protocol):
    """Drafts of some events, made as they are asked for."""

    def __iter__(self) -> "Drafts": ...

    def __next__(self) -> Any: ...

    def chunk(self, most: int, size: int, /) -> list[Any]:
        """The next ones, at most ``most``; none behind the one with which the payloads are more than ``size`` bytes."""
        ...


class Framer(Protocol):
    """Encodes drafts."""

    def frames(self, drafts: list[Any], reply: bytes, first: int, /) -> list[bytes] | None:
        """Their frames, with acks to ``reply`` and a number from ``first`` on; None for the pure encoder."""
        ...

    def batch_frames(self, drafts: list[Any], lead: bytes, first: int, /) -> list[bytes] | None:
        """Their frames in an atomic batch, numbered from ``first`` on behind ``lead``; None for the pure encoder."""
        ...


class Acker(Protocol):
    """Acknowledges the events of one consumer."""

    def acked(self, event: Any) -> bool:
        """As :meth:`Settler.acked`."""
        ...


class TraceShare(Protocol):
    """A share of the traces."""

    def has(self, trace_id: str, /) -> bool:
        """As :attr:`TraceShare.has <mts1b_platform.eventbus.events.trace_share.TraceShare.has>`."""
        ...


class Timer(Protocol):
    """Takes the times of consumed events."""

    def __call__(self, event: Any, /) -> None:
        """As :meth:`Timings.settled`."""
        ...


# under names that the classes below do not take
_Scanner: TypeAlias = Scanner
_Subjects: TypeAlias = Subjects
_Reader: TypeAlias = ListenReader
_OutBuffer: TypeAlias = OutBuffer
_Framer: TypeAlias = Framer
_Acker: TypeAlias = Acker
_Timer: TypeAlias = Timer
_TraceShare: TypeAlias = TraceShare
_Told: TypeAlias = Callable[[Any], Any]
"""Of hooks those that are told of something; None when there are none."""


class Core(Protocol):
    """What the compiled core offers."""

    @property
    def __version__(self) -> str: ...

    @property
    def Plan(self) -> MakePlan:  # noqa: N802 - a class
        """See :class:`Plan`."""
        ...

    @property
    def FieldsSet(self) -> type[Any]:  # noqa: N802 - a class
        """The class of what makes the set of fields of an event that was read, when it is asked for."""
        ...

    def Scanner(self, max_message: int, /) -> _Scanner:  # noqa: N802 - a class
        """A scanner that leaves larger messages to the parser."""
        ...

    def Subjects(self) -> _Subjects:  # noqa: N802 - a class
        """One that has seen nothing yet."""
        ...

    def ListenReader(  # noqa: N802 - a class
        self, listener: Any, client: Any, queue: Any, subjects: _Subjects, consumed: dict[str, int], told: _Told, /
    ) -> _Reader:
        """A reader of what waits in ``queue``; what it leaves is asked of ``listener.__anext__()``.

        ``told`` says which hooks are told of handlers; an event in a trace outside their share has none.
        """
        ...

    def ConsumeReader(  # noqa: N802 - a class
        self, consumer: Any, client: Any, settler: Any, subjects: _Subjects, told: _Told, turn: float, /
    ) -> _Reader:
        """A reader of what the consumer's prefetch holds; what it leaves is asked of ``consumer.__anext__()``.

        It awaits ``consumer._turn()`` after so many seconds, and ``consumer._arrival()`` where nothing waits.
        """
        ...

    def Acker(  # noqa: N802 - a class
        self,
        settler: Any,
        client: Any,
        buffer: _OutBuffer,
        remember: Callable[[bytes], object],
        consumed: dict[str, int],
        not_sent: type[Exception],
        deciding: Callable[[Any], tuple[Any, ...]],
        /,
    ) -> _Acker:
        """What acknowledges in the place of ``settler``, and asks it for what is not common."""
        ...

    def Timer(  # noqa: N802 - a class
        self,
        pure: Callable[[Any], None],
        latency: dict[str, Any],
        handler: dict[str, Any],
        histogram: type[Any],
        bounds: Sequence[float],
        /,
    ) -> _Timer:
        """A timer that asks ``pure`` for what is not common."""
        ...

    def TraceShare(self, bound: int, pure: Callable[[str], bool], /) -> _TraceShare:  # noqa: N802 - a class
        """The traces whose last 64 bits are below ``bound``; asks ``pure`` for ids of another form."""
        ...

    def OutBuffer(self, owner: Any, limit: int, high_water: int, max_payload: int, /) -> _OutBuffer:  # noqa: N802
        """A buffer that asks ``owner`` for what is not common."""
        ...

    @property
    def Sender(self) -> MakeSender:  # noqa: N802 - a class
        """See :class:`Sender`."""
        ...

    @property
    def Drafts(self) -> type[Any]:  # noqa: N802 - a class
        """See :class:`Drafts`; made with the events of one subject, their templates, and what makes their ids."""
        ...

    def find_templates(
        self,
        events: list[Any],
        payload: type[Any],
        names: Sequence[str],
        known: dict[Any, Any],
        template: type[Any],
        remember: Callable[[Any], Any],
        /,
    ) -> list[Any]:
        """Templates for ``events``: those among the ``known`` by the fields ``names``, else what ``remember`` makes."""
        ...

    def all_have_replies(self, batch: list[Any], /) -> bool:
        """Whether every message of ``batch`` asks for an answer; false as well where one has another form."""
        ...

    def plain_acks(
        self, ack: type[Any], stream: str, sequences: Mapping[int, Any], names: list[str], ids: list[Any], /
    ) -> list[Any]:
        """An ``ack`` for each of the ``sequences``, in their order, with the name and id that stand beside it."""
        ...

    def Framer(self, template: type[Any], /) -> _Framer:  # noqa: N802 - a class
        """One for templates of this class."""
        ...

    def take_acks(
        self, batch: list[Any], start: int, pending: dict[int, Any], bulk: Any, begin: bytes, acks: dict[int, Any], /
    ) -> int:
        """Write down the plain acks of ``bulk`` in front of ``batch``; how many those were."""
        ...

    def serve_events(self, live: type[Any], durable: type[Any], handled: Any, /) -> None:
        """Make events of these classes, and serve their ``async with``."""
        ...


def _load() -> tuple[Core | None, str]:
    """The compiled core, or why there is none.

    Raises:
        ConfigError: it is required.
    """
    if _is_set(os.environ.get("MTS1B_PURE", "")):
        found, why = None, "switched off by MTS1B_PURE"
    else:
        found, why = _import()
    wanted = os.environ.get("MTS1B_CORE", "")
    if wanted not in ("", "required"):
        raise ConfigError(f"MTS1B_CORE is {wanted!r}: it is 'required', or not set")
    if found is None and wanted:
        if why == _ABSENT:
            why = f"{why}; `make setup` builds it"
        raise ConfigError(f"MTS1B_CORE=required, but the compiled core is not at work: {why}")
    return found, why


def _import() -> tuple[Core | None, str]:
    try:
        module = import_module("mts1b_wire")
    except Exception as error:  # noqa: BLE001 - whatever it is, pure Python does without it
        if isinstance(error, ModuleNotFoundError) and error.name == "mts1b_wire":
            return None, _ABSENT
        log.warning(
            "the compiled core cannot be loaded; pure Python is at work, `make setup` builds it anew",
            error=words_of(error),
        )
        return None, f"mts1b-wire cannot be loaded, {_REMEDY}: {words_of(error)}"
    interface = getattr(module, "INTERFACE", None)
    if interface != INTERFACE:
        log.warning(
            "the compiled core is of another release; pure Python is at work, `make setup` builds it anew",
            has=interface,
            needs=INTERFACE,
        )
        return None, f"mts1b-wire is of another release (interface {interface}, not {INTERFACE}), {_REMEDY}"
    return cast("Core", module), ""


def _is_set(value: str) -> bool:
    return value.lower() not in ("", "0", "false", "no")


_found: Final = _load()
CORE: Final = _found[0]
"""The compiled core; None when pure Python is at work."""


def at_work() -> str:
    """In words, for people: which form is at work, and why."""
    return f"pure Python ({_found[1]})" if CORE is None else f"compiled core {CORE.__version__}"


@cache
def say_what_is_at_work(in_python: tuple[str, ...]) -> None:
    """Say it in the log, once in a process for each sort of bus.

    Args:
        in_python: the steps at which hooks are called in Python for each event.
    """
    log.info("hot path", at_work=at_work(), **({"in_python": "; ".join(in_python)} if in_python else {}))
