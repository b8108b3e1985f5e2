"""Functions that want to be called at an event, and can be taken off again."""

from collections.abc import Callable


class Hooks:
    """Calls each of its functions; one that fails is reported, and the others are called."""

    __slots__ = ("_functions", "_report")

    def __init__(self, report: Callable[[Exception], None]) -> None:
        self._report = report
        self._functions: dict[object, Callable[[], object]] = {}

    def add(self, function: Callable[[], object]) -> Callable[[], None]:
        """Have ``function`` called from now on; returns what takes it off."""
        key = object()
        self._functions[key] = function

        def remove() -> None:
            self._functions.pop(key, None)

        return remove

    def call(self) -> None:
        """Call all of them, in the order in which they came."""
        for function in list(self._functions.values()):
            try:
                function()
            except Exception as error:  # noqa: BLE001 - the others are to be called too
                self._report(error)

    def call_last(self) -> None:
        """Call all of them for the last time."""
        self.call()
        self._functions.clear()
