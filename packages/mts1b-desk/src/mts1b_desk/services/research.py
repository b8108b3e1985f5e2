"""The research service: bars in, signals out."""

from collections.abc import Sequence

from mts1b_foundation.marketdata import BarV2, SessionClosedV2
from mts1b_foundation.subjects import MARKETDATA_BARS_V2

from mts1b_desk.cores.research import Research
from mts1b_desk.protocol import Progress
from mts1b_desk.services.feed import Feed
from mts1b_desk.services.feed_service import FeedService


class ResearchService(FeedService[Research]):
    """Reads the bars of the desk's first interval."""

    @property
    def interval(self) -> str:
        """Which bars the strategies see."""
        return self.settings.intervals[0]

    def make_feed(self) -> Feed[BarV2]:
        """The bars of the session."""

        async def work(bars: Sequence[BarV2]) -> None:
            await self.work(bars, self.core.on_bar, bars[-1].end)

        session, taken = self.settings.session, self.keeper.taken
        return Feed(self.bus, MARKETDATA_BARS_V2, session=session, interval=self.interval, taken=taken, work=work)

    def total(self, closed: SessionClosedV2) -> int:
        """Number of the bars of the session."""
        return sum(mark.bars.get(self.interval, 0) for mark in closed.marks)

    def progress(self) -> Progress:
        """How far it has read the bars, and how many signals came of them."""
        return Progress(bars=self.feed.taken, signals=self.core.signals)
