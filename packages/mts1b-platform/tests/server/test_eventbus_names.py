"""The names of the event bus, which are imported when they are first asked for."""

import inspect
import subprocess
import sys

import pytest
from mts1b_platform import eventbus


def test_every_public_name_is_there_and_is_listed():
    for name in eventbus.__all__:
        assert getattr(eventbus, name).__class__.__name__ != "module", name
    assert set(eventbus.__all__) <= set(dir(eventbus))


def test_a_name_that_does_not_exist_is_refused_as_any_module_refuses_it():
    with pytest.raises(AttributeError, match="has no attribute 'conect'"):
        _ = eventbus.conect  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    "first",
    [
        "import mts1b_platform.eventbus.connect",
        "from mts1b_platform.eventbus.connect import connect",
        "from mts1b_platform.eventbus import connect",
        "import mts1b_platform.observability",
    ],
)
def test_connect_is_the_function_whatever_was_imported_before(first: str):
    code = f"{first}\nimport mts1b_platform.eventbus as e\nassert e.connect.__class__.__name__ == 'function', e.connect"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_every_option_of_connect_is_named_and_documented():
    described = (inspect.getdoc(eventbus.connect) or "").partition("Args:")[2].partition("Raises:")[0]
    for name, parameter in inspect.signature(eventbus.connect).parameters.items():
        assert parameter.kind is not parameter.VAR_KEYWORD, "the list is closed"
        assert f"\n    {name}: " in described, name
