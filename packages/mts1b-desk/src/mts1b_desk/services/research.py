"""The research service: bars in, signals out."""

from collections.abc import Sequence

from mts1b_foundation.marketdata import Bar, SessionClosed
from mts1b_foundation.subjects import MARKETDATA_BARS

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

    def make_feed(self) -> Feed[Bar]:
        """The bars of the session."""

        async def work(bars: Sequence[Bar]) -> None:
            await self.work(bars, self.core.on_bar, bars[-1].end)

        session, taken = self.settings.session, self.keeper.taken
        return Feed(self.bus, MARKETDATA_BARS, session=session, interval=self.interval, taken=taken, work=work)

    def total(self, closed: SessionClosed) -> int:
        """Number of the bars of the session."""
        return sum(mark.bars.get(self.interval, 0) for mark in closed.marks)

    def progress(self) -> Progress:
        """How far it has read the bars, and how many signals came of them."""
        return Progress(bars=self.feed.taken, signals=self.core.signals)
