"""The source that the settings of a run ask for."""

from mts1b_desk.data.simulated import SimulatedMarket
from mts1b_desk.data.tick import Source
from mts1b_desk.errors import DeskError
from mts1b_desk.settings import DeskSettings, HeardSettings, ReplaySettings


def open_source(settings: DeskSettings) -> Source:
    """The file or the simulated market of the run.

    Raises:
        DataError: the file cannot be read.
        DeskError: the quotes come from the bus.
    """
    source = settings.source
    if isinstance(source, HeardSettings):
        raise DeskError("quotes that were heard on the bus cannot be read again: replay them once more, slower")
    if not isinstance(source, ReplaySettings):
        return SimulatedMarket(source)
    from mts1b_desk.data.replay import Replay  # it loads pyarrow, which a simulated market does without

    return Replay(source, settings.signed_prices)
