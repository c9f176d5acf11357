"""The settings of a supervisor, and how the text of each becomes a value.

`SETTINGS` is the one table of them: the command line, the environment and the file all read it.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from portico.ports.draft import NAME

DEFAULT_QUEUE_URL = "sqlite:///portico.db"
DEFAULT_APP = "portico.examples:app"

_MOST_WORKERS = 1024
_MOST_CONCURRENCY = 250


class Unusable(Exception):
    """A value that a setting cannot take; the text is the way out."""


class Setting(NamedTuple):
    """One setting: its flags (the first one names it), and how its text becomes a value."""

    flags: tuple[str, ...]
    parse: Callable[[str], Any]
    help: str
    metavar: str | None = None
    default: Any = None

    @property
    def name(self) -> str:
        """The field of `SupervisorConfig`."""
        return self.flags[0].removeprefix("--").replace("-", "_")

    @property
    def variable(self) -> str:
        """The environment variable."""
        return f"PORTICO_{self.name.upper()}"

    @property
    def takes_no_value(self) -> bool:
        """Whether the flag stands alone."""
        return self.parse is switch


def whole(lowest: int, highest: int | None = None) -> Callable[[str], int]:
    """A parser of whole numbers in a range."""
    limits = f"of at least {lowest}" if highest is None else f"from {lowest} to {highest}"

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise Unusable(f"give a whole number {limits}") from None
        if number < lowest or (highest is not None and number > highest):
            raise Unusable(f"give a whole number {limits}")
        return number

    return parse


_UNITS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def duration(text: str) -> float:
    """Seconds from `90`, `1.5s`, `5m`, `2h` or `1d`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)", text.strip())
    if not match:
        raise Unusable("give seconds, or a number with one of ms, s, m, h, d, such as 5m")
    return float(match[1]) * _UNITS[match[2]]


def at_least_a_second(text: str) -> float:
    """A duration of one second or more."""
    seconds = duration(text)
    if seconds < 1:
        raise Unusable("give at least one second")
    return seconds


def timeout(text: str) -> float | None:
    """A duration, or `None` from `0`, `none` or `off`."""
    return None if text.strip().lower() in {"0", "none", "off"} else duration(text)


def size(text: str) -> int:
    """Bytes from `512M` or `2G`; a bare number counts KiB, as Celery's option of that name does."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg]?)(?:i?b)?", text.strip().lower())
    if not match or float(match[1]) == 0:
        raise Unusable("give a size such as 512M or 2G; a bare number counts KiB")
    power = {"k": 1, "m": 2, "g": 3, "": 1}[match[2]]
    return int(float(match[1]) * 1024**power)


def names(text: str) -> tuple[str, ...]:
    """Queue names from a comma list, in order, each once."""
    found = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not found:
        raise Unusable("give at least one queue, such as high,default,low")
    for name in found:
        if not NAME.fullmatch(name):
            raise Unusable(f"{name!r} is no queue name; use letters, digits or any of _ . : -")
    return found


def one_of(*choices: str) -> Callable[[str], str]:
    """A parser of a closed set of words, in any case."""
    by_case = {choice.lower(): choice for choice in choices}

    def parse(text: str) -> str:
        if text.strip().lower() not in by_case:
            raise Unusable(f"give one of {', '.join(choices)}")
        return by_case[text.strip().lower()]

    return parse


def any_text(text: str) -> str:
    """Any text that is not blank."""
    if not text.strip():
        raise Unusable("it is empty")
    return text


def switch(text: str) -> bool:
    """True or false, in the words people use for it."""
    if text.strip().lower() not in {"1", "true", "yes", "on", "0", "false", "no", "off", ""}:
        raise Unusable("give true or false")
    return text.strip().lower() in {"1", "true", "yes", "on"}


def _cpus() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def _start_method() -> str:
    return "zygote" if sys.platform == "linux" else "spawn"


SETTINGS: tuple[Setting, ...] = (
    Setting(
        ("--workers", "-w"),
        whole(1, _MOST_WORKERS),
        "Worker processes; one per CPU when left out.",
        "N",
        _cpus,
    ),
    Setting(
        ("--app", "-A"),
        any_text,
        "The handlers, as module:attribute; the bundled examples when left out.",
        "TARGET",
        DEFAULT_APP,
    ),
    Setting(
        ("--queue-url", "-u"),
        any_text,
        f"The job store; {DEFAULT_QUEUE_URL} when left out.",
        "URL",
        DEFAULT_QUEUE_URL,
    ),
    Setting(
        ("--queues", "-Q"),
        names,
        "Queues to serve, in strict order, such as high,default,low.",
        "NAMES",
        ("default",),
    ),
    Setting(
        ("--concurrency", "-c"),
        whole(1, _MOST_CONCURRENCY),
        "Jobs at a time in each worker; above 1 for I/O-bound handlers.",
        "N",
        1,
    ),
    Setting(("--drain",), switch, "Finish what is due, then exit.", default=False),
    Setting(
        ("--job-timeout", "--time-limit"),
        timeout,
        "Deadline of a job: it is cancelled then; 0 for none.",
        "TIME",
        300.0,
    ),
    Setting(
        ("--kill-grace",),
        duration,
        "How long after that a job which goes on is killed, with its process.",
        "TIME",
        5.0,
    ),
    Setting(
        ("--shutdown-grace",),
        duration,
        "How long running jobs may go on after SIGTERM.",
        "TIME",
        25.0,
    ),
    Setting(
        ("--lease",),
        at_least_a_second,
        "How long a job stays ours without a sign of life.",
        "TIME",
        60.0,
    ),
    Setting(
        ("--max-jobs-per-worker", "--max-tasks-per-child"),
        whole(1),
        "Replace a worker after so many jobs (up to a tenth more).",
        "N",
    ),
    Setting(
        ("--max-memory-per-worker", "--max-memory-per-child"),
        size,
        "Replace a worker grown to this resident size: 512M, 2G; a bare number counts KiB.",
        "SIZE",
    ),
    Setting(
        ("--start-method",),
        one_of("zygote", "spawn"),
        "zygote: fork from a process that has loaded the app (Linux); spawn: a new interpreter.",
        "METHOD",
        _start_method,
    ),
    Setting(
        ("--retry-returned-failures",),
        switch,
        "Try again also when a handler returns success=False.",
        default=False,
    ),
    Setting(
        ("--log-level", "-l"),
        one_of("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
        "DEBUG, INFO, WARNING, ERROR or CRITICAL.",
        "LEVEL",
        "INFO",
    ),
    Setting(
        ("--log-format",),
        one_of("console", "json"),
        "console or json.",
        "FORMAT",
        "console",
    ),
    Setting(
        ("--audit-url",),
        any_text,
        "Keep an audit trail of every job that ends here, such as sqlite:///audit.db.",
        "URL",
    ),
    Setting(
        ("--pid-file",),
        any_text,
        "Write the process id here; a second supervisor refuses to start.",
        "FILE",
    ),
    Setting(("--check",), switch, "Validate everything, start nothing.", default=False),
)
