"""Settings of simulated processes: what they are given, whatever the environment of the simulation says."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from mts1b_platform.config import Settings

_NOTHING: Final = Path(__file__).with_name("nothing.toml")
_WHO: Final = frozenset({"service", "actor", "profile"})
_loaded: dict[tuple[tuple[str, Any], ...], Settings] = {}
"""By their arguments: reading settings anew for each process would cost a third of a simulation."""


@contextmanager
def isolated_settings(**fixed: Any) -> Generator[None]:
    """Settings are read from arguments alone; with ``fixed`` from these, and from who the process is."""
    load = Settings.load

    def load_once(config: object = None, **arguments: Any) -> Settings:
        del config
        if fixed:
            arguments = {name: value for name, value in arguments.items() if name in _WHO} | fixed
        key = tuple(sorted(arguments.items(), key=lambda item: item[0]))
        if (found := _loaded.get(key)) is None:
            nothing = {name: value for name, value in os.environ.items() if not name.startswith("MTS1B_")}
            with patch.dict(os.environ, nothing, clear=True):
                found = _loaded[key] = load(_NOTHING, **arguments)
        return found

    with patch.object(Settings, "load", load_once):
        yield
