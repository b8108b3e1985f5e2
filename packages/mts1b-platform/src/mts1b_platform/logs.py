"""Logging: structlog on top of the standard library's loggers, so that a host application stays in charge.

Library code asks :func:`get_logger`. Until an application calls :func:`configure_logging`, warnings and errors go to
standard error as plain lines and the rest is silent; standard output is never written to.
"""

import logging
import sys
from typing import Any, Literal, TextIO

import structlog

from mts1b_platform.handling import handled

LogFormat = Literal["console", "json"]


def _merge_log_context(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    context = handled.get()
    if context is not None:
        for key, value in context.log_fields().items():
            if value is not None:
                event.setdefault(key, value)
    return event


_SHARED: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    _merge_log_context,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """The logger ``name`` (dotted, such as ``mts1b.eventbus``): call it with an event and key-value pairs."""
    return structlog.wrap_logger(
        logging.getLogger(name),
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            _merge_log_context,
            _as_record,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def configure_logging(
    *,
    level: str = "INFO",
    style: LogFormat | None = None,
    stream: TextIO | None = None,
) -> None:
    """Send this process's logs to ``stream`` (standard error): for people on a terminal, else a JSON document a line.

    Replaces the handlers of the root logger. ``level`` is a name of the standard library's logging module.
    """
    target = stream or sys.stderr
    style = style or ("console" if target.isatty() else "json")
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(
            colors=target.isatty(),
            # the rich one prints local variables: long at 3 a.m., and a place where credentials leak
            exception_formatter=structlog.dev.plain_traceback,
        )
        if style == "console"
        else structlog.processors.JSONRenderer()
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=[
                _fields_of_record,
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info if style == "json" else _keep,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)


def _as_record(_: Any, __: str, event: structlog.typing.EventDict) -> dict[str, Any]:
    """Hand the line to the standard library: a readable message, with the pairs beside it for formatters."""
    message = event.pop("event")
    options = {key: event.pop(key) for key in ("exc_info", "stack_info", "stacklevel") if key in event}
    pairs = " ".join(f"{key}={value!r}" for key, value in event.items())
    text = f"{message} {pairs}" if pairs else str(message)
    return {"msg": text, "extra": {"mts1b_event": message, "mts1b_fields": dict(event)}, **options}


def _fields_of_record(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    record: logging.LogRecord = event["_record"]
    fields: dict[str, Any] | None = getattr(record, "mts1b_fields", None)
    if fields is not None:
        event["event"] = record.__dict__["mts1b_event"]
        event.update(fields)
    return event


def _keep(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return event
