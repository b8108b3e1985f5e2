"""Settings of simulated processes: what they are given, whatever the environment of the simulation says."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from mts1b_platform.config import Settings

_NOTHING: Final = Path(__file__).with_name("nothing.toml")
_loaded: dict[tuple[tuple[str, Any], ...], Settings] = {}
"""By their arguments: reading settings anew for each process would cost a third of a simulation."""


@contextmanager
def isolated_settings() -> Generator[None]:
    """Settings are read from arguments alone."""
    load = Settings.load

    def load_once(config: object = None, **arguments: Any) -> Settings:
        del config
        key = tuple(sorted(arguments.items(), key=lambda item: item[0]))
        if (found := _loaded.get(key)) is None:
            nothing = {name: value for name, value in os.environ.items() if not name.startswith("MTS1B_")}
            with patch.dict(os.environ, nothing, clear=True):
                found = _loaded[key] = load(_NOTHING, **arguments)
        return found

    with patch.object(Settings, "load", load_once):
        yield
