"""The reference of all settings, from the classes that read them: names, types, defaults, and their docstrings."""

import inspect
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, NamedTuple, Union, get_args, get_origin

import griffe
from mts1b_console.settings import ConsoleSettings
from mts1b_operations.monitor.paging import MailPager, NtfyPager, WebhookPager
from mts1b_operations.monitor.settings import DEFAULTS, MonitorSettings, Threshold
from mts1b_platform.config import Settings
from pydantic import AliasChoices, BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

_NATS = ("servers", "people", "monitor")
"""Settings that the file holds in its table ``[nats]``."""
_WORDS: Final = {
    str: "text",
    SecretStr: "text",
    int: "whole number",
    float: "number",
    bool: "`true`, `false`",
    Path: "path",
}


class Table(NamedTuple):
    """One table of the configuration file."""

    heading: str
    words: str
    model: type[BaseModel]


_TABLES = (
    Table(
        "The process",
        "Of every process, at the top of the file. `servers`, `people` and `monitor` stand in its table `[nats]`.",
        Settings,
    ),
    Table("`[monitoring]`", "Of the monitor (`mts1b monitor`).", MonitorSettings),
    Table("`[monitoring.thresholds.<watch>]`", "One reading; what each watch has without it stands below.", Threshold),
    Table('`[[monitoring.pagers]]`, `kind = "ntfy"`', "A topic of ntfy.", NtfyPager),
    Table('`[[monitoring.pagers]]`, `kind = "mail"`', "Mail.", MailPager),
    Table('`[[monitoring.pagers]]`, `kind = "webhook"`', "Any request over HTTP.", WebhookPager),
    Table("`[console]`", "Of `mts1b console serve`.", ConsoleSettings),
)


def settings_page() -> str:
    """The page."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# Settings\n\nEvery setting. Where a value comes from is told in [configuration](../configuration.md).\n"
    for table in _TABLES:
        environment = table.model is Settings
        yield f"## {table.heading}\n\n{table.words}\n"
        yield f"| setting |{' environment |' if environment else ''} type | default | meaning |"
        yield f"|---|{'---|' if environment else ''}---|---|---|"
        words = _docstrings(table.model)
        for name, field in table.model.model_fields.items():
            if name not in words:
                raise LookupError(f"{table.model.__name__}.{name} has no docstring: the settings page shows it")
            cells = [f"`{name}`", *([f"`{_variable(name, field)}`"] if environment else [])]
            yield f"| {' | '.join([*cells, _type(field.annotation), _default(field), words[name]])} |"
        yield ""
    yield "## Thresholds without a setting\n"
    yield "| watch | warning | critical | clear | hold | unit |\n|---|--:|--:|--:|--:|---|"
    for watch, threshold in DEFAULTS.items():
        warning, critical = ("" if each is None else f"{each:g}" for each in (threshold.warning, threshold.critical))
        yield f"| `{watch}` | {warning} | {critical} | {threshold.clear:g} | {threshold.hold:g} s | {threshold.unit} |"


def _docstrings(model: type[BaseModel]) -> dict[str, str]:
    """What stands below each field in the source, of base classes too."""
    found: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        if not issubclass(cls, BaseModel) or cls is BaseModel or not cls.__module__.startswith("mts1b_"):
            continue
        path = Path(inspect.getfile(cls))
        module = griffe.visit(cls.__module__, filepath=path, code=path.read_text(encoding="utf-8"))
        for name, attribute in module[cls.__name__].attributes.items():
            if attribute.docstring is not None:
                found[name] = " ".join(attribute.docstring.value.split()).replace("``", "`").replace("|", "\\|")
    return found


def _variable(name: str, field: FieldInfo) -> str:
    aliases = field.validation_alias
    return str(aliases.choices[1]) if isinstance(aliases, AliasChoices) else f"MTS1B_{name.upper()}"


def _type(annotation: Any) -> str:
    """What is written in the file, in words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0])
    if origin in {Union, UnionType}:
        return " or ".join(_type(each) for each in arguments if each is not NoneType)
    if origin is Literal:
        return ", ".join(f"`{each}`" for each in arguments)
    if origin is tuple:
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return "table"
    if issubclass(annotation, BaseModel):
        return "table"
    if issubclass(annotation, Enum):
        return ", ".join(f"`{each.value}`" for each in annotation)
    return _WORDS[annotation]


def _default(field: FieldInfo) -> str:
    value: Any = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined:
        return "must be given"
    if value is None or value in ((), {}, ""):
        return ""
    value = value.value if isinstance(value, Enum) else value
    value = ", ".join(map(str, value)) if isinstance(value, tuple) else value
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"
