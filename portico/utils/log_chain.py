"""The processors that turn a log call, ours or the standard library's, into a line."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeGuard

from structlog import DropEvent
from structlog.contextvars import merge_contextvars
from structlog.processors import StackInfoRenderer, format_exc_info
from structlog.typing import Processor

from portico.utils.log_context import current_context
from portico.utils.log_lines import (
    Cleaner,
    Event,
    Renderer,
    encodable,
    fitted,
    render_console,
    render_json,
    render_pairs,
    shown,
    without_words,
)
from portico.utils.log_output import Output, descriptor_of

_LEVEL_NAMES = {"warn": "warning", "fatal": "critical", "msg": "info", "exception": "error"}
_CONSOLE = frozenset({1, 2})
ORIGIN = frozenset({"level", "logger", "timestamp"})
"""What a line says beside its fields."""
_OURS = "portico_has_written_this"
"""Marks a record that our own chain has written already."""
OF_THE_JOB = ("worker", "job_id", "job_type", "queue", "attempt")
"""What only Portico says of a line: whose it is. What a log call gives under these names is kept
beside it, as `said_job_id` and so on."""
SAID = "said_"
_STANDARD_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {
    "message", "asctime", "taskName",
}  # fmt: skip


def configured(output: Output, render: Renderer, cleaner: Cleaner) -> list[Processor]:
    """The chain that renders lines for an output."""

    def line(_logger: Any, _method: str, event: Event) -> str:
        if lost := output.unreported():
            event["lost_lines"] = lost
        return fitted(render, cleaner.event(event), output.longest)

    return [
        merge_contextvars,
        _add_context,
        _add_origin,
        _show_standard_handlers,
        StackInfoRenderer(),
        format_exc_info,
        line,
    ]


def renderer(output: Output, log_format: str, log_errors: str) -> Renderer:
    """What makes a line for this output of a cleaned event."""
    render: Renderer = render_json if log_format == "json" else partial(
        render_console, colored=output.colored, terminal=output.is_a_terminal_alone
    )  # fmt: skip
    return render if log_errors == "text" else without_words(render)


def unconfigured() -> list[Processor]:
    """The chain that hands events to the standard library's loggers."""
    return [_hand_to_standard_logging]


class StandardHandler(logging.Handler):
    """Sends the standard library's records down the same chain, but for those that came from it."""

    def __init__(self, processors: Sequence[Processor], output: Output) -> None:
        super().__init__()
        self._processors = processors
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, _OURS, False):
            return
        try:
            event: Any = _event_of(record)
            for processor in self._processors:
                event = processor(None, event["level"], event)
            self._output.write(event)
        except Exception:  # noqa: BLE001 - the caller logs and goes on
            self._output.drop()


def _event_of(record: logging.LogRecord) -> dict[str, Any]:
    event = {key: value for key, value in vars(record).items() if key not in _STANDARD_ATTRIBUTES}
    event |= {
        **_message_of(record),
        "logger": record.name,
        "level": record.levelname.lower(),
        "timestamp": timestamp(datetime.fromtimestamp(record.created, UTC)),
    }
    if record.exc_info:
        event["exc_info"] = record.exc_info
    elif record.exc_text:
        event["exception"] = record.exc_text
    if record.stack_info:
        event["stack"] = record.stack_info
    return event


def _message_of(record: logging.LogRecord) -> dict[str, str]:
    """What a record says; where its arguments do not fit its text, all of that and its place."""
    try:
        return {"event": record.getMessage()}
    except Exception as flaw:  # noqa: BLE001 - any argument's __str__ may raise anything
        place = f"{record.pathname}:{record.lineno}"
        return {
            "event": f"{record.msg} {shown(record.args)}",
            "log_call_broken": f"{type(flaw).__name__}: {flaw} ({place})",
        }


def _add_context(_logger: Any, _method: str, event: Event) -> Event:
    context = current_context()
    for key in OF_THE_JOB:
        if key in event and key in context and str(event[key]) != str(context[key]):
            event[SAID + key] = event.pop(key)
    for key, value in context.items():
        event.setdefault(key, value)
    return event


def _add_origin(logger: Any, method: str, event: Event) -> Event:
    event.setdefault("event", "")
    if logger is not None:  # the standard library's records know theirs
        event["timestamp"] = timestamp(datetime.now(UTC))
        event["level"] = _LEVEL_NAMES.get(method, method)
        if logger.name:
            event["logger"] = logger.name
    return event


def timestamp(instant: datetime) -> str:
    return instant.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _hand_to_standard_logging(logger: Any, method: str, event: Event) -> Event:
    log_as_standard(logger.name, method, _add_context(logger, method, event))
    raise DropEvent


def _show_standard_handlers(logger: Any, method: str, event: Event) -> Event:
    """Let others than ours see what our loggers log: pytest's `caplog`, an error tracker's."""
    if logger is not None and _others_listen(logging.getLogger(logger.name)):
        facts = {key: value for key, value in event.items() if key not in ORIGIN}
        log_as_standard(logger.name, method, facts, extra={_OURS: True})
    return event


def _others_listen(logger: logging.Logger | None) -> bool:
    while logger is not None:
        if any(type(handler) is not StandardHandler for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False


def reaches_root(logger: logging.Logger | logging.PlaceHolder) -> TypeGuard[logging.Logger]:
    """Whether the handlers of the root logger get what this one logs."""
    while isinstance(logger, logging.Logger) and logger.parent is not None and logger.propagate:
        logger = logger.parent
    return isinstance(logger, logging.RootLogger)


def console_handlers(logger: logging.Logger) -> list[logging.Handler]:
    """The handlers of a logger that write to this process's standard output or error."""
    return [
        handler
        for handler in logger.handlers
        if isinstance(handler, logging.StreamHandler) and _is_console(handler.stream)
    ]


def _is_console(stream: Any) -> bool:
    ours = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    return any(stream is one for one in ours) or descriptor_of(stream) in _CONSOLE


def log_as_standard(
    name: str | None, method: str, event: Event, extra: dict[str, Any] | None = None
) -> None:
    """Log an event with the standard library, for whatever handlers there are."""
    target = logging.getLogger(name)
    level = logging.getLevelNamesMapping().get(_LEVEL_NAMES.get(method, method).upper())
    if target.isEnabledFor(level or logging.INFO):
        exc_info = event.get("exc_info")
        kept = {key: value for key, value in event.items() if key != "exc_info"}
        clean = Cleaner().event({**kept, "event": str(kept.get("event", ""))})
        text = encodable(f"{clean.pop('event')}{render_pairs(clean)}")
        target.log(level or logging.INFO, "%s", text, exc_info=exc_info, extra=extra)
