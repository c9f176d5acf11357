"""Structured logging for applications, supervisors and workers.

Portico's loggers, structlog's and the standard library's all go through the same processors to
one output, and every line carries the context that is bound where it is logged. Until
`configure_logging` is called nothing is taken over: lines go to the standard library's loggers,
and the application's own configuration rules.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from typing import IO, Any, cast

import structlog
from structlog.typing import FilteringBoundLogger, Processor

from portico.exceptions import ConfigurationError
from portico.utils import log_chain
from portico.utils.log_context import bind_context, clear_context, current_context, log_context
from portico.utils.log_lines import ERRORS, FORMATS, Cleaner, Renderer, fitted, render_json
from portico.utils.log_output import Output, output_for

__all__ = [
    "bind_context",
    "clear_context",
    "configure_logging",
    "current_context",
    "dropped_lines",
    "get_logger",
    "level_of",
    "log_context",
    "log_to",
    "relay",
    "replace_console_handlers",
    "reset_logging",
    "writes_to_terminal",
]

_LEVELS = {
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARNING": logging.WARNING,
    "ERROR": logging.ERROR,
    "CRITICAL": logging.CRITICAL,
}
_LEVEL_OF_METHOD = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "msg": logging.INFO,
    "warning": logging.WARNING,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
    "fatal": logging.CRITICAL,
}


class _Settings:
    """What the running configuration is; one per process."""

    def __init__(self) -> None:
        self.threshold = logging.NOTSET
        self.output: Output | None = None
        self.handler: logging.Handler | None = None
        self.root_level = logging.WARNING
        self.for_people = False
        self.failed = 0
        self.render: Renderer = render_json


_settings = _Settings()
_processors: list[Processor] = log_chain.unconfigured()  # changed in place: loggers refer to it


class _Sink:
    """What structlog calls at the end of the chain; carries the logger's name."""

    def __init__(self, name: str | None = None, *_: object) -> None:
        self.name = name

    def msg(self, line: str) -> None:
        if _settings.output is not None:
            _settings.output.write(line)

    debug = info = warning = error = critical = notset = msg


_Unfiltered: Any = structlog.make_filtering_bound_logger(logging.NOTSET)


class _Logger(_Unfiltered):  # type: ignore[misc] # structlog makes this class at run time
    """structlog's filtering logger with a threshold that can change, and that never raises."""

    def _proxy_to_logger(self, method_name: str, event: Any = None, **values: Any) -> Any:
        if _LEVEL_OF_METHOD.get(method_name, logging.CRITICAL) < _settings.threshold:
            return None
        try:
            return super()._proxy_to_logger(method_name, event, **values)
        except Exception:  # noqa: BLE001 - whatever is wrong with a log line, the work goes on
            _settings.failed += 1

    def is_enabled_for(self, level: int) -> bool:
        return level >= self.get_effective_level()

    def get_effective_level(self) -> int:
        if _settings.output is None:
            return logging.getLogger(self._logger.name).getEffectiveLevel()
        return _settings.threshold


def _method(name: str, level: int) -> Callable[..., None]:
    def log(self: Any, event: object, *args: object, **values: object) -> None:
        if level >= _settings.threshold:
            self._proxy_to_logger(name, _interpolated(event, args) if args else event, **values)

    log.__name__ = name
    return log


def _interpolated(event: object, args: tuple[Any, ...]) -> object:
    try:
        return str(event) % (args[0] if len(args) == 1 and isinstance(args[0], dict) else args)
    except (TypeError, ValueError, KeyError):
        return f"{event} {args!r}"


for _name, _level in _LEVEL_OF_METHOD.items():
    setattr(_Logger, _name, _method(_name, _level))


def get_logger(name: str | None = None, **values: Any) -> FilteringBoundLogger:
    """A structlog logger, to be kept at module level.

    A call below the configured level costs a comparison. It follows every later
    `configure_logging`, and no call of it ever raises.

    Args:
        name: usually `__name__`; written as `logger`.
        **values: bound to every line of this logger.
    """
    return cast(FilteringBoundLogger, _Logger(_Sink(name), _processors, values))


def configure_logging(
    log_level: str = "INFO",
    log_format: str = "console",
    log_output: str = "stdout",
    log_file_path: str | os.PathLike[str] | None = None,
    *,
    stream: IO[Any] | None = None,
    secret_keys: Iterable[str] = (),
    log_errors: str = "text",
) -> None:
    """Send all log lines of this process to one place; may be called again.

    Args:
        log_level: DEBUG, INFO, WARNING, ERROR or CRITICAL, in any case.
        log_format: `console` for people, `json` for programs; both with UTC timestamps.
        log_output: `stdout`, `stderr`, `file`, which appends to `log_file_path`, or `both` that
            and standard output.
        log_file_path: read only with `log_output` `file` and `both`.
        stream: takes the place of `log_output`; lines go to its descriptor, one write each.
        secret_keys: more keys whose values are masked; part of a key is enough.
        log_errors: `text`, or `type`: a line that tells the class of an error as `error_type` says
            neither `error` nor `traceback`.

    Raises:
        ConfigurationError: an argument is not usable; the running configuration stays.
    """
    level = level_of(log_level)
    if log_format not in FORMATS:
        raise ConfigurationError(f"log_format is {log_format!r}; use one of {', '.join(FORMATS)}")
    if log_errors not in ERRORS:
        raise ConfigurationError(f"log_errors is {log_errors!r}; use one of {', '.join(ERRORS)}")
    output = output_for(log_output, log_file_path, stream)
    log_to(output, level, log_format, secret_keys, log_errors)


def log_to(
    output: Output,
    level: int,
    log_format: str = "json",
    secret_keys: Iterable[str] = (),
    log_errors: str = "text",
) -> None:
    """Send all log lines of this process to an output that is open, from this level on."""
    reset_logging()
    _settings.threshold, _settings.output = level, output
    _settings.for_people = log_format == "console"
    _settings.render = log_chain.renderer(output, log_format, log_errors)
    _processors[:] = log_chain.configured(output, _settings.render, Cleaner(secret_keys))
    _take_over_standard_logging(level, output)
    structlog.configure(
        processors=_processors,
        wrapper_class=_Logger,
        context_class=dict,
        logger_factory=_Sink,
        cache_logger_on_first_use=True,
    )


def reset_logging() -> None:
    """Undo `configure_logging`: standard handlers and level as before, file closed.

    The bound context stays; `clear_context` empties it.
    """
    root = logging.getLogger()
    if _settings.handler is not None:
        root.removeHandler(_settings.handler)
        root.setLevel(_settings.root_level)
        structlog.reset_defaults()
    if _settings.output is not None:
        _settings.output.close()
    _settings.__init__()  # type: ignore[misc] # the same object: loggers refer to it
    _processors[:] = log_chain.unconfigured()


def level_of(name: str) -> int:
    """The number of a level.

    Raises:
        ConfigurationError: there is none of this name.
    """
    level = _LEVELS.get(str(name).upper())
    if level is None:
        raise ConfigurationError(f"log_level is {name!r}; use one of {', '.join(_LEVELS)}")
    return level


def _take_over_standard_logging(level: int, output: Output) -> None:
    root = logging.getLogger()
    _settings.root_level = root.level
    _settings.handler = log_chain.StandardHandler(_processors, output)
    root.addHandler(_settings.handler)
    root.setLevel(level)


def relay(fields: Mapping[str, Any]) -> None:
    """Write the line of another process, whose values it has cleaned, among this one's own.

    It goes to the output alone; where logging is not configured, to the standard library's loggers.
    What cannot be rendered is dropped and counted.

    Args:
        fields: JSON values; with `event`, `level`, `timestamp` and perhaps `logger`.
    """
    output = _settings.output
    if output is None:
        facts = {key: value for key, value in fields.items() if key not in log_chain.ORIGIN}
        log_chain.log_as_standard(fields.get("logger"), fields["level"], facts)
        return
    try:
        line = fitted(_settings.render, fields, output.longest)
    except (ValueError, RecursionError):  # numbers of very many digits, lists in lists in lists
        output.drop()
    else:
        output.write(line)


def replace_console_handlers() -> None:
    """Let the output have all records, and take away what the application has put on the console
    for records that come here, too.

    Else each of its lines is there twice, once without its context. A handler of a logger that does
    not propagate stays: its records come by no other way. So does every one that writes elsewhere.
    """
    if _settings.handler is None:
        return
    root = logging.getLogger()
    for logger in [root, *logging.Logger.manager.loggerDict.values()]:
        if log_chain.reaches_root(logger):
            for handler in log_chain.console_handlers(logger):
                logger.removeHandler(handler)
    root.addHandler(_settings.handler)  # where `basicConfig(force=True)` has removed it


def writes_to_terminal() -> bool:
    """Whether a person may be watching: the lines, as text, go to a terminal."""
    return _settings.output is not None and _settings.output.is_terminal and _settings.for_people


def dropped_lines() -> int:
    """How many lines this configuration could not write or render."""
    return _settings.failed + (_settings.output.dropped if _settings.output else 0)
