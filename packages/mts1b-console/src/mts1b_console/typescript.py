"""The shapes as TypeScript types, so that the browser's program cannot drift from them."""

from inspect import isclass
from typing import Any

from mts1b_foundation.views.typescript import declare
from pydantic.json_schema import models_json_schema

from mts1b_console.shapes import base, events, live, person, registry, runs, state

_HEAD = """\
// Rendered from mts1b_console.shapes by `mts1b console check --types`. Do not edit.

/** A point in time in UTC, such as 2021-01-08T09:30:00.123456Z. */
export type Instant = string;
"""
_TAIL = """
/** What the browser says on `/live`. */
export type FromBrowser = Hello | Watch | Pause | Resume | Close | Open | Hidden;
/** What it hears there. */
export type ToBrowser = Welcome | Frame | Opened | Trouble | Ended;
"""

_RECEIVED = {
    live.Hello,
    live.Watch,
    live.Pause,
    live.Resume,
    live.Close,
    live.Open,
    live.Hidden,
    person.SignIn,
    person.ActRequest,
}


def typescript() -> str:
    """One module with an interface for each shape."""
    definitions = json_schema()["$defs"]
    names = {name: name for name in definitions}
    return _HEAD + "".join(f"\n{declare(name, definitions[name], names)}" for name in definitions) + _TAIL


def json_schema() -> dict[str, Any]:
    """The JSON Schema of every shape, below ``$defs``."""
    shapes = [
        each
        for module in (base, events, state, registry, person, runs, live)
        for each in vars(module).values()
        if isclass(each) and issubclass(each, base.Shape) and each.__module__ == module.__name__
    ]
    # what is sent has all of its fields; what is received may leave out those that have a default
    _, document = models_json_schema(
        [(each, "validation" if each in _RECEIVED else "serialization") for each in shapes]
    )
    return dict(document)
