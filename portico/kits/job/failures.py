"""Exceptions as text: the one place where an error becomes a `Failure`, and a `Failure` an error.

Exceptions come from code that nobody here controls. Their `__str__` may raise, their message may
have 50 MB, their chain may be a circle; what leaves this module is bounded text that every store
can keep, and making it never raises.
"""

from __future__ import annotations

import re
from asyncio import CancelledError
from itertools import islice
from pathlib import Path
from traceback import TracebackException, walk_tb

from portico.exceptions import JobTimeoutError, PorticoError, WorkerLostError
from portico.kits.job.error_kinds import is_a, leaves
from portico.ports.leasing import Failure
from portico.utils.texts import shortened

MAX_MESSAGE = 8 * 1024
MAX_TRACEBACK = 16 * 1024
_MAX_NAME = 128
_MAX_FRAMES = 40
_MAX_ENTRY = 2 * 1024
_MAX_LEAVES = 10

_LONGEST_LOOKED_AT = 128 * 1024

_DATA = (
    (
        "[parameters: ",  # of a statement, as SQLAlchemy tells its errors
        re.compile(r"\[parameters: .*?(?:\](?=\s*(?:\n|\Z))|\Z)", re.DOTALL),
        "[parameters: not shown]",
    ),
    (
        "Failing row contains",  # as PostgreSQL tells of a broken constraint
        re.compile(r"Failing row contains \(.*?(?:\)\.?(?=\s*(?:\n|\Z))|\Z)", re.DOTALL),
        "Failing row not shown.",
    ),
)
"""What begins the values of a database in a message, what they are, and what takes their place."""

_HINTS: tuple[tuple[type[BaseException], str], ...] = (
    (TimeoutError, "; something that was awaited took too long, not the job as a whole"),
    (CancelledError, "; something that was awaited had been cancelled"),
    (MemoryError, "; give workers more memory, or the job less at a time"),
)
"""What an error means that seldom says anything."""

_GONE: dict[str, type[PorticoError]] = {
    "WorkerLostError": WorkerLostError,
    "MemoryCeilingError": WorkerLostError,
    "JobTimeoutError": JobTimeoutError,
}


def failure_of(error: BaseException, skip_frames: int = 0) -> Failure:
    """Put an exception into words: class name, text, traceback.

    The text of a group goes on with its errors. Where an exception says nothing, its text is what
    can be said: its class, and where it was raised.

    Args:
        error: any exception, however hostile.
        skip_frames: outermost frames of the traceback to leave out, where they are our own.
    """
    return failure(_class_name(error), _words(error), _traceback(error, skip_frames))


def failure(kind: str, message: str, traceback: str = "") -> Failure:
    """Build a failure of any text, within the limits and without what stores cannot keep."""
    return Failure(
        printable(kind, _MAX_NAME),
        printable(message, MAX_MESSAGE),
        printable(traceback, MAX_TRACEBACK),
    )


def error_of(reason: Failure) -> PorticoError:
    """The exception that `on_failure` gets for an attempt whose own exception is gone."""
    return _GONE.get(reason.type, PorticoError)(reason.message, {"error_type": reason.type})


def as_exception(error: BaseException) -> Exception:
    """The error itself, or an exception around one that `except Exception` would not catch."""
    if is_a(error, Exception):
        return error  # type: ignore[return-value]
    return PorticoError(f"The handler raised {_class_name(error)}: {_words(error)}", cause=error)


def text_of(value: object) -> str:
    """The text of anything, bounded; making it never raises."""
    try:
        return str(str(value)[:MAX_MESSAGE])
    except BaseException:  # noqa: BLE001 - __str__ may do anything
        return f"<{type(value).__name__} str() failed>"


def printable(text: str, limit: int) -> str:
    """At most `limit` bytes of UTF-8, with NUL and lone surrogates spelled out."""
    ends = text if len(text) <= 2 * limit else text[:limit] + text[-limit:]
    body = ends.replace("\x00", "\\x00").encode("utf-8", "backslashreplace")
    return shortened(body, limit)


def _class_name(error: BaseException) -> str:
    try:
        return str(type(error).__name__)
    except BaseException:  # noqa: BLE001 - a metaclass may do anything
        return "Exception"


def _words(error: BaseException) -> str:
    if not is_a(error, BaseExceptionGroup):
        return _message(error)
    told = [f"{_class_name(leaf)}: {_message(leaf)}" for leaf in islice(leaves(error), _MAX_LEAVES)]
    return f"{_message(error)}: {'; '.join(told)}"


def _message(error: BaseException) -> str:
    try:
        said = str(error)
        if len(said) > _LONGEST_LOOKED_AT:
            said = said[: _LONGEST_LOOKED_AT // 2] + "…" + said[-_LONGEST_LOOKED_AT // 2 :]
        return _without_data(str(said)) if said.strip() else _unsaid(error)
    except BaseException:  # noqa: BLE001 - __str__ may do anything
        return "<exception str() failed>"


def _unsaid(error: BaseException) -> str:
    """What can be said of an error that says nothing."""
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    own = [frame for frame in frames if Path(frame.f_code.co_filename).parent.name != "asyncio"]
    where = ""
    for code in [frame.f_code for frame in (own or frames)[-1:]]:
        where = f", raised in {code.co_name} ({Path(code.co_filename).name})"
    hints = [words for kind, words in _HINTS if is_a(error, kind)]
    return f"{_class_name(error)} without a text{where}{''.join(hints[:1])}"


def _without_data(text: str) -> str:
    """The text without the values that databases were given, which are documents of the jobs."""
    for sign, data, left in _DATA:
        if sign in text:
            text = data.sub(left, text)
    return text


def _traceback(error: BaseException, skip_frames: int) -> str:
    try:
        frames = error.__traceback__
        while skip_frames and frames is not None and frames.tb_next is not None:
            frames, skip_frames = frames.tb_next, skip_frames - 1
        told = TracebackException(type(error), error, frames, limit=-_MAX_FRAMES, compact=True)
        entries = (_cut(_without_data(entry), _MAX_ENTRY) for entry in told.format())
        return _shortened("".join(entries))
    except BaseException:  # noqa: BLE001 - formatting runs the exception's own code
        return "(the traceback could not be formatted)\n"


def _shortened(text: str) -> str:
    """The innermost frame and the message stand last, so the middle of a long one goes first."""
    if len(text) <= MAX_TRACEBACK:
        return text
    head, tail = MAX_TRACEBACK // 4, MAX_TRACEBACK // 2
    return f"{text[:head]}\n  [...]\n{text[-tail:]}"


def _cut(entry: str, limit: int) -> str:
    if len(entry) <= limit:
        return entry
    return f"{entry[: limit - limit // 3]} [...] {entry[-limit // 3 :]}"
