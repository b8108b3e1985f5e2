"""When a recorded event is due: as long after the first one as it was stored, divided by the speed. Pure."""


class Pace:
    """The times of a replay.

    Args:
        speed: how many times as fast as it happened; None: as fast as the target takes it.
    """

    def __init__(self, speed: float | None) -> None:
        self._speed = speed
        self._origin: tuple[float, int] | None = None

    def wait(self, time_ns: int, now: float) -> float:
        """Seconds until an event that was stored at ``time_ns`` is due; 0 when it is, or was.

        Args:
            time_ns: when it was stored.
            now: the present, on a clock that only goes forward.
        """
        if self._speed is None:
            return 0.0
        if self._origin is None:
            self._origin = now, time_ns
        begun, first = self._origin
        return max(0.0, begun + (time_ns - first) / 1e9 / self._speed - now)
