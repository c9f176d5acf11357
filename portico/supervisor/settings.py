"""The settings of a supervisor, and how the text of each becomes a value.

`SETTINGS` is the one table of them: the command line, the environment and the file all read it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from portico.supervisor.parsing import (
    any_text,
    at_least_a_second,
    duration,
    limits_of,
    mask,
    names,
    one_of,
    size,
    size_or_none,
    switch,
    target,
    timeout,
    variables,
    whole,
)
from portico.supervisor.privileges import DEFAULT_LIMITS
from portico.utils.log_lines import ERRORS

DEFAULT_QUEUE_URL = "sqlite:///portico.db"
DEFAULT_APP = "portico.examples:app"

_MOST_WORKERS = 1024
_MOST_CONCURRENCY = 250


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


def _umask() -> int:
    return 0o077


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
        target,
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
        ("--max-job-timeout",),
        at_least_a_second,
        "What no job's deadline exceeds, whatever its type or its producer asks for.",
        "TIME",
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
        "Replace a worker after so many jobs, or up to a tenth more; 1: a worker for each job.",
        "N",
    ),
    Setting(
        ("--max-memory-per-worker", "--max-memory-per-child"),
        size,
        "Replace a worker grown to this resident size: 512M, 2G; a bare number counts KiB.",
        "SIZE",
    ),
    Setting(
        ("--max-age-per-worker",),
        at_least_a_second,
        "Replace a worker of this age (up to a tenth more): 90m, 12h.",
        "TIME",
    ),
    Setting(
        ("--memory-ceiling",),
        size,
        "Kill a worker that grows past this resident size; its job counts as failed: 2G.",
        "SIZE",
    ),
    Setting(
        ("--min-free-memory",),
        size_or_none,
        "Start no more jobs while the machine has less memory left; 0 for no such limit.",
        "SIZE",
        64 * 1024 * 1024,
    ),
    Setting(
        ("--kill-orphans",),
        switch,
        "Kill what handlers started and what outlived its worker, also in a session of its own.",
        default=False,
    ),
    Setting(
        ("--start-method",),
        one_of("zygote", "spawn"),
        "zygote: fork from a process that has loaded the app (Linux); spawn: a new interpreter.",
        "METHOD",
        _start_method,
    ),
    Setting(
        ("--loop",),
        one_of("uvloop", "asyncio"),
        "What runs the handlers' coroutines: uvloop, or asyncio's own loop.",
        "LOOP",
        "uvloop",
    ),
    Setting(
        ("--limits",),
        limits_of,
        "What binds each worker, such as address_space=4G,cpu=1h,files=1024.",
        "LIMITS",
        DEFAULT_LIMITS,
    ),
    Setting(
        ("--pass-env",),
        variables,
        "Variables for the workers that are kept from them else, such as PGHOST or PG*.",
        "NAMES",
        (),
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
        ("--log-errors",),
        one_of(*ERRORS),
        "text, or type: of the errors of handlers their class alone.",
        "WHAT",
        "text",
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
    Setting(("--user",), any_text, "Started as root: become this user.", "NAME"),
    Setting(("--group",), any_text, "And this group; else the user's own.", "NAME"),
    Setting(("--umask",), mask, "What others may not do with new files; 077.", "MASK", _umask),
    Setting(
        ("--production",),
        switch,
        "Refuse what is only for trying out: root, the bundled examples.",
        default=False,
    ),
    Setting(("--allow-root",), switch, "Run as root all the same.", default=False),
    Setting(("--check",), switch, "Validate everything, start nothing.", default=False),
)
