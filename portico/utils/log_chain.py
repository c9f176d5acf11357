"""The processors that turn a log call, ours or the standard library's, into a line."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from structlog import DropEvent
from structlog.contextvars import merge_contextvars
from structlog.processors import StackInfoRenderer, format_exc_info
from structlog.typing import Processor

from portico.utils.log_context import current_context
from portico.utils.log_lines import (
    Cleaner,
    Event,
    fitted,
    render_console,
    render_json,
    render_pairs,
)
from portico.utils.log_output import LogOutput

_LEVEL_NAMES = {"warn": "warning", "fatal": "critical", "msg": "info", "exception": "error"}
_STANDARD_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {
    "message", "asctime", "taskName",
}  # fmt: skip


def configured(output: LogOutput, log_format: str, cleaner: Cleaner) -> list[Processor]:
    """The chain that renders lines for an output."""
    render = render_json if log_format == "json" else partial(
        render_console, colored=output.colored
    )  # fmt: skip

    def line(_logger: Any, _method: str, event: Event) -> str:
        if lost := output.unreported():
            event["lost_lines"] = lost
        return fitted(render, cleaner.event(event), output.longest)

    return [
        merge_contextvars,
        _add_context,
        _add_origin,
        StackInfoRenderer(),
        format_exc_info,
        line,
    ]


def unconfigured() -> list[Processor]:
    """The chain that hands events to the standard library's loggers."""
    return [_hand_to_standard_logging]


class StandardHandler(logging.Handler):
    """Sends the standard library's records down the same chain."""

    def __init__(self, processors: Sequence[Processor], output: LogOutput) -> None:
        super().__init__()
        self._processors = processors
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        try:
            event: Any = _event_of(record)
            for processor in self._processors:
                event = processor(None, event["level"], event)
            self._output.write(event)
        except Exception:  # noqa: BLE001 - the caller logs and goes on
            self._output.dropped += 1


def _event_of(record: logging.LogRecord) -> dict[str, Any]:
    event = {key: value for key, value in vars(record).items() if key not in _STANDARD_ATTRIBUTES}
    event |= {
        "event": record.getMessage(),
        "logger": record.name,
        "level": record.levelname.lower(),
        "timestamp": _timestamp(datetime.fromtimestamp(record.created, UTC)),
    }
    if record.exc_info:
        event["exc_info"] = record.exc_info
    elif record.exc_text:
        event["exception"] = record.exc_text
    if record.stack_info:
        event["stack"] = record.stack_info
    return event


def _add_context(_logger: Any, _method: str, event: Event) -> Event:
    for key, value in current_context().items():
        event.setdefault(key, value)
    return event


def _add_origin(logger: Any, method: str, event: Event) -> Event:
    event.setdefault("event", "")
    if logger is not None:  # the standard library's records know theirs
        event["timestamp"] = _timestamp(datetime.now(UTC))
        event["level"] = _LEVEL_NAMES.get(method, method)
        if logger.name:
            event["logger"] = logger.name
    return event


def _timestamp(instant: datetime) -> str:
    return instant.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _hand_to_standard_logging(logger: Any, method: str, event: Event) -> Event:
    target = logging.getLogger(logger.name)
    name = _LEVEL_NAMES.get(method, method)
    level = logging.getLevelNamesMapping().get(name.upper(), logging.INFO)
    if target.isEnabledFor(level):
        exc_info = event.pop("exc_info", None)
        text = str(event.pop("event", ""))
        clean = Cleaner().event({**_add_context(logger, method, event), "event": text})
        target.log(level, "%s%s", clean.pop("event"), render_pairs(clean), exc_info=exc_info)
    raise DropEvent
