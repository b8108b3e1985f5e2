"""The source that the settings of a run ask for."""

from mts1b_desk.data.simulated import SimulatedMarket
from mts1b_desk.data.tick import Source
from mts1b_desk.settings import DeskSettings, ReplaySettings


def open_source(settings: DeskSettings) -> Source:
    """The file or the simulated market of the run.

    Raises:
        DataError: the file cannot be read.
    """
    source = settings.source
    if not isinstance(source, ReplaySettings):
        return SimulatedMarket(source)
    from mts1b_desk.data.replay import Replay  # it loads pyarrow, which a simulated market does without

    return Replay(source, settings.signed_prices)
