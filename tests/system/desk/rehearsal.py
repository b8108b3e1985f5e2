"""The whole desk in one process, without a bus: what a run must give, whatever happens on the way.

Every durable and every feed is a queue that keeps its order, as streams do; which queue is served next is up to the
caller. Services can be taken down and brought back from their stored rows between any two events. The books at the end
must not depend on either, and a run over a real bus must end with the same ones.
"""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mts1b_desk.books import BrokerBook, OmsBook, OperationsBook, TreasuryBook
from mts1b_desk.cores.broker import Broker
from mts1b_desk.cores.core import Core, Effects, Emit, NeedQuotes, QuoteCore
from mts1b_desk.cores.marketdata import Marketdata
from mts1b_desk.cores.oms import Oms
from mts1b_desk.cores.operations import Operations
from mts1b_desk.cores.research import Research
from mts1b_desk.cores.tape import feed_position
from mts1b_desk.cores.treasury import Treasury
from mts1b_desk.data.tick import Source
from mts1b_desk.declared import INPUTS
from mts1b_desk.services.wiring import CORES
from mts1b_desk.settings import DeskSettings
from mts1b_foundation.event import Event
from mts1b_foundation.marketdata import BarV2, QuoteV2
from mts1b_foundation.subjects import MARKETDATA_SESSIONS_CLOSED_V2, Subject

_STORED = datetime(2000, 1, 1, tzinfo=UTC)
_FEED = "feed"
_PAGE = 100

Chooser = Callable[[Sequence[str]], str]
"""Picks one of several names."""


@dataclass(frozen=True, slots=True)
class Books:
    """The books at the end."""

    oms: OmsBook
    brokers: BrokerBook
    treasury: TreasuryBook
    operations: OperationsBook
    events: dict[str, int]
    """How many events were published, by subject."""


class Rehearsal:
    """One rehearsal of one session.

    Args:
        settings: of the desk.
        source: the market data.
        choose: which queue is served next; by default the first that is not empty, market data last.
        restart: asked between any two events for a service to take down and bring back; "" for none.
    """

    def __init__(
        self,
        settings: DeskSettings,
        source: Source,
        *,
        choose: Chooser = lambda names: names[0],
        restart: Chooser = lambda _: "",
    ) -> None:
        self._settings = settings
        self._ticks = iter(source.ticks())
        self._marketdata = Marketdata(settings, source.label)
        self._cores: dict[str, Core] = {name: make(settings) for name, make in CORES.items()}
        self._rows: dict[str, dict[str, dict[str, bytes]]] = {name: {} for name in CORES}
        self._queues: dict[str, deque[tuple[Subject[Any] | None, Any]]] = {}
        self._published: list[QuoteV2] = []
        self._over = False
        self._choose = choose
        self._restart = restart
        self._counts: Counter[str] = Counter()
        for name, inputs in INPUTS.items():
            for wanted in inputs:
                self._queues[f"{name}/{wanted.name}"] = deque()
        for name in ("research", "brokers", "treasury"):
            self._queues[f"{name}/{_FEED}"] = deque()

    def inject(self, subject: Subject[Any], event: Event) -> None:
        """Store an event as if its producer had published it."""
        self._counts[subject.pattern] += 1
        for name, inputs in INPUTS.items():
            for wanted in inputs:
                if subject in wanted.subjects:
                    self._queues[f"{name}/{wanted.name}"].append((subject, event))

    def run(self) -> Books:
        """Play to the end and return the books."""
        for name, core in self._cores.items():
            self._do(name, core.start())
        while names := self._ready():
            queue = self._choose(names)
            if queue == "marketdata":
                self._tick()
                continue
            service = queue.partition("/")[0]
            subject, item = self._queues[queue].popleft()
            self._do(service, self._apply(self._cores[service], subject, item))
            if (victim := self._restart(tuple(CORES))) and victim in self._cores:
                self._bring_back(victim)
        treasury = self._cores["treasury"]
        if isinstance(treasury, Treasury):
            self._do("treasury", treasury.finalise())
        return self._books()

    def _ready(self) -> list[str]:
        """The queues that may be served; the end of the session only to who has worked the whole feed."""
        names = [
            name
            for name, queue in self._queues.items()
            if queue and not (name.endswith("/sessions") and self._queues[name.replace("/sessions", f"/{_FEED}")])
        ]
        return names if self._over else [*names, "marketdata"]

    def _tick(self) -> None:
        tick = next(self._ticks, None)
        if tick is None:
            self._over = True
            self.inject(MARKETDATA_SESSIONS_CLOSED_V2, self._marketdata.close())
            return
        for item in self._marketdata.on_tick(tick):
            if isinstance(item, QuoteV2):
                self._published.append(item)
                self._queues[f"brokers/{_FEED}"].append((None, item))
                self._queues[f"treasury/{_FEED}"].append((None, item))
            elif item.interval == self._settings.intervals[0]:
                self._queues[f"research/{_FEED}"].append((None, item))

    def _apply(self, core: Core, subject: Subject[Any] | None, item: Any) -> Effects:
        if subject is not None:
            return core.handle(subject, item, _STORED)
        if isinstance(core, Research) and isinstance(item, BarV2):
            return core.on_bar(item)
        if isinstance(core, QuoteCore) and isinstance(item, QuoteV2):
            return core.on_quote(item)
        raise TypeError(f"{core.service} does not read {type(item).__name__}")

    def _do(self, service: str, effects: Effects) -> None:
        rows = self._rows[service]
        for change in self._cores[service].changes():
            table = rows.setdefault(change.table, {})
            if change.data is None:
                table.pop(change.key, None)
            else:
                table[change.key] = change.data
        for effect in effects:
            if isinstance(effect, Emit):
                self.inject(effect.subject, effect.payload)
            else:
                self._fetch(service, effect)

    def _fetch(self, service: str, need: NeedQuotes) -> None:
        core = self._cores[service]
        if isinstance(core, Broker):
            wanted = [
                quote
                for quote in self._published
                if quote.symbol == need.symbol and quote.timestamp >= need.since and feed_position(quote) > need.after
            ]
            self._do(service, core.on_history(need.order_id, wanted[:_PAGE]))

    def _bring_back(self, service: str) -> None:
        core = CORES[service](self._settings)
        core.restore({table: list(rows.items()) for table, rows in self._rows[service].items()})
        self._cores[service] = core
        self._do(service, core.start())

    def _books(self) -> Books:
        oms, brokers, treasury, operations = (
            self._cores[name] for name in ("oms", "brokers", "treasury", "operations")
        )
        assert isinstance(oms, Oms)
        assert isinstance(brokers, Broker)
        assert isinstance(treasury, Treasury)
        assert isinstance(operations, Operations)
        return Books(oms.book(), brokers.book(), treasury.book(), operations.book(), dict(self._counts))
