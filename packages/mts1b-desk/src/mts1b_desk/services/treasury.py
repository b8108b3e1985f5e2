"""The treasury service: fills and quotes in, net asset values out."""

from mts1b_desk.books import TreasuryBook
from mts1b_desk.cores.treasury import Treasury
from mts1b_desk.services.feed_service import QuoteService
from mts1b_desk.services.requests import Answer


class TreasuryService(QuoteService[Treasury]):
    """Also values the funds for the last time, when asked to."""

    def answers(self) -> dict[str, Answer]:
        """The books, and the same after the final valuation."""

        async def finalise(_: bytes) -> TreasuryBook:
            await self.keeper.do(self.core.finalise)
            return self.core.book()

        return {**super().answers(), "finalise": finalise}
