"""Research: strategies look at closed bars and publish a signal whenever they want another position.

Bars come in the order of the feed, none missing, so the same bars give the same signals with the same ids.
"""

from datetime import datetime
from typing import ClassVar

from mts1b_foundation.marketdata import BarV2, SessionClosedV2, exact
from mts1b_foundation.signals import Direction, SignalV2
from mts1b_foundation.subjects import MARKETDATA_SESSIONS_CLOSED_V2, RESEARCH_SIGNALS_PUBLISHED_V2
from pydantic import BaseModel, ConfigDict

from mts1b_desk.cores.core import Core, Effects, Emit
from mts1b_desk.ids import signal_id, token
from mts1b_desk.settings import DeskSettings
from mts1b_desk.strategies.strategy import make_strategy
from mts1b_desk.tables import Table


class View(BaseModel):
    """What one strategy has seen of one symbol, and what it wants."""

    model_config = ConfigDict(frozen=True)

    closes: tuple[float, ...] = ()
    wants: Direction = Direction.FLAT
    signals: int = 0


class Research(Core):
    """The research service of a desk."""

    service: ClassVar[str] = "research"
    repo: ClassVar[str] = "mts1b-research"

    def __init__(self, settings: DeskSettings) -> None:
        self._session = settings.session
        self._strategies = {each.name: make_strategy(each) for each in settings.strategies}
        self.views: Table[View] = Table("views", View)
        self.tables = (self.views,)
        self.handlers = {MARKETDATA_SESSIONS_CLOSED_V2: self._on_closed}

    @property
    def signals(self) -> int:
        """Signals published."""
        return sum(view.signals for view in self.views.values())

    def on_bar(self, bar: BarV2) -> Effects:
        """What the strategies make of the next bar of a symbol."""
        effects: list[Emit] = []
        for name, strategy in self._strategies.items():
            key = f"{token(name)}|{bar.symbol}"
            view = self.views.get(key) or View()
            closes = (*view.closes, bar.close)[-strategy.window :]
            view = view.model_copy(update={"closes": closes})
            wants = strategy.decide(closes) if len(closes) == strategy.window else None
            if wants is not None and wants is not view.wants:
                view = view.model_copy(update={"wants": wants, "signals": view.signals + 1})
                effects.append(self._signal(name, bar, view))
            self.views[key] = view
        return effects

    def _signal(self, strategy: str, bar: BarV2, view: View) -> Emit:
        signal = SignalV2(
            signal_id=signal_id(self._session, strategy, bar.symbol, view.signals),
            strategy=strategy,
            symbol=bar.symbol,
            direction=view.wants,
            reference_price=exact(bar.close),
            as_of=bar.end,
        )
        return Emit(RESEARCH_SIGNALS_PUBLISHED_V2, signal)

    def _on_closed(self, _closed: SessionClosedV2, _at: datetime) -> Effects:
        return ()
