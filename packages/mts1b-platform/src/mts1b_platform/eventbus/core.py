"""Which form of the hot path is at work: the compiled core, or pure Python.

Pure Python says what is right, and is what runs where ``mts1b-wire`` is not installed. The compiled core does the same
for what is common, several times as fast, and leaves the rest to it. ``MTS1B_PURE=1`` switches it off;
``MTS1B_CORE=required`` makes its absence an error.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, Final, Protocol, cast

from mts1b_platform.config import ConfigError
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.eventbus.core")

INTERFACE: Final = 1
"""What this release and the compiled core have agreed on; another number is another release's core."""

FieldPlan = tuple[str, str, Mapping[str, Any], bool, bool, Any]
"""Name, kind, options of the kind, whether null is allowed, whether it must be there, what it is when left out."""


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
        after: Callable[[Any], Any] | None,
        utc: Any,
        decode: Callable[[bytes], Any],
        encode: Callable[[Any], bytes],
        changed: Callable[[], object],
    ) -> Plan:
        """A plan of ``model``; ``decode`` and ``encode`` take what it leaves."""
        ...


class Core(Protocol):
    """What the compiled core offers."""

    @property
    def __version__(self) -> str: ...

    @property
    def Plan(self) -> MakePlan:  # noqa: N802 - a class
        """See :class:`Plan`."""
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
        raise ConfigError(f"MTS1B_CORE=required, but the compiled core is not at work: {why}; `make setup` builds it")
    return found, why


def _import() -> tuple[Core | None, str]:
    try:
        module = import_module("mts1b_wire")
    except ModuleNotFoundError:
        return None, "mts1b-wire is not installed"
    except ImportError as error:
        log.warning("the compiled core cannot be loaded; pure Python is at work", error=str(error))
        return None, f"mts1b-wire cannot be loaded: {error}"
    interface = getattr(module, "INTERFACE", None)
    if interface != INTERFACE:
        log.warning("the compiled core is of another release; pure Python is at work", has=interface, needs=INTERFACE)
        return None, f"mts1b-wire is of another release (interface {interface}, not {INTERFACE})"
    return cast("Core", module), ""


def _is_set(value: str) -> bool:
    return value.lower() not in ("", "0", "false", "no")


_found: Final = _load()
CORE: Final = _found[0]
"""The compiled core; None when pure Python is at work."""


def at_work() -> str:
    """In words, for people: which form is at work, and why."""
    return f"pure Python ({_found[1]})" if CORE is None else f"compiled core {CORE.__version__}"
