"""Looking for signs of life: the one timer of a connection."""

from mts1b_platform.eventbus.connection.link import Link
from mts1b_platform.eventbus.connection.network import Clock, Timer
from mts1b_platform.eventbus.connection.options import ConnectionOptions
from mts1b_platform.eventbus.connection.outbound import Outbound
from mts1b_platform.eventbus.errors import StaleConnection

PING = b"PING\r\n"


class KeepAlive:
    """Ends a link whose server has gone silent.

    Whatever arrived since the last look is a sign of life, not only a PONG: that may wait behind seconds of messages.
    The server is asked at every look, so that one that has nothing to say has something to answer.
    """

    __slots__ = ("_clock", "_options", "_outbound", "_timer")

    def __init__(self, options: ConnectionOptions, clock: Clock, outbound: Outbound) -> None:
        self._options = options
        self._clock = clock
        self._outbound = outbound
        self._timer: Timer | None = None

    def watch(self, link: Link) -> None:
        """Look after this link from now on."""
        link.heard, link.pings = True, 0
        self._look(link)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, link: Link) -> None:
        if link.heard:
            link.heard, link.pings = False, 0
        elif link.pings >= self._options.max_outstanding_pings:
            seconds = self._options.ping_interval * link.pings
            link.end(StaleConnection(f"the server has sent nothing for more than {seconds:g} s, though it was asked"))
            return
        link.pings += 1
        link.pongs.append(None)
        self._outbound.control(PING)
        self._timer = self._clock.call_later(self._options.ping_interval, lambda: self._look(link))
