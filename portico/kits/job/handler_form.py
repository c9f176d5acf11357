"""The form of a handler, looked at when handlers are loaded and not at their first job.

What can be told from a handler without running it is told here: whether its methods can be awaited,
whether they take what they are given, and whether an attribute is a misspelt one of ours.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import suppress
from difflib import get_close_matches
from types import FunctionType, MethodType
from typing import Any

from portico.ports import time_limits
from portico.ports.job_handler import JobHandler

OPTIONAL = (*time_limits.NAMES, "alone", "max_running", "on_failure")
"""What a handler may have besides its job type and `handle`."""

_ALIKE = 0.85
"""From here on a name is taken for a misspelt one: `max_runing`, `jobTimeout`, `job_timeout_s`."""
_ABSENT = object()
_AWAITED = ("Awaitable", "Coroutine", "Future", "Task")


def flaw_of(handler: Any) -> str | None:
    """What is wrong with a handler's form, in words that follow its name; `None`: nothing is."""
    return (
        _flaw_of_handle(handler.handle)
        or _flaw_of_hook(getattr(handler, "on_failure", None))
        or _misspelt(handler)
    )


def _flaw_of_handle(handle: Callable[..., Any]) -> str | None:
    kind = _kind(handle)
    if kind is not None:
        return f"has a handle that is {kind}; write `async def handle(self, job)`"
    if not _takes(handle, 1):
        return f"has handle{_parameters(handle)}, which is called with the job alone"
    return None


def _flaw_of_hook(hook: Callable[..., Any] | None) -> str | None:
    if hook is None or not callable(hook):
        return None
    if _generates(_bare(hook)):
        return (
            "has an on_failure that is a generator; write `async def on_failure(self, job, error)`"
        )
    if not _takes(hook, 2):
        return f"has on_failure{_parameters(hook)}, which is called with the job and the error"
    return None


def _kind(handle: Callable[..., Any]) -> str | None:
    """What a `handle` is that cannot be awaited; `None` where it can be, or nobody can tell."""
    function = _bare(handle)
    if _generates(function):
        return "a generator"
    if isinstance(function, FunctionType) and not _may_await(function):
        return "a plain function"
    return None


def _may_await(function: Any, deeper: int = 8) -> bool:
    """Whether a function is async, says that it returns what is awaited, or wraps one that does:
    by `wraps`, by `partial`, or by the closure of a decorator that does without."""
    function = _bare(function)
    told = str(getattr(function, "__annotations__", {}).get("return", ""))
    if inspect.iscoroutinefunction(function) or any(word in told for word in _AWAITED):
        return True
    return deeper > 0 and any(_may_await(inner, deeper - 1) for inner in _wrapped(function))


def _wrapped(function: Any) -> Iterator[Any]:
    if wrapped := inspect.getattr_static(function, "__wrapped__", None):
        yield wrapped
    for cell in (function.__closure__ or ()) if isinstance(function, FunctionType) else ():
        with suppress(ValueError):  # a cell that is still empty
            if callable(inner := cell.cell_contents):
                yield inner


def _bare(function: Any) -> Any:
    while isinstance(function, functools.partial | MethodType):
        function = function.__func__ if isinstance(function, MethodType) else function.func
    return function


def _generates(function: Any) -> bool:
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def _takes(function: Callable[..., Any], arguments: int) -> bool:
    try:
        inspect.signature(function).bind(*range(arguments))
    except TypeError:
        return False
    except ValueError:  # of no Python function
        return True
    return True


def _parameters(function: Callable[..., Any]) -> str:
    return str(inspect.signature(function)).partition(" ->")[0]


def _misspelt(handler: object) -> str | None:
    lacking = [name for name in OPTIONAL if not _has(handler, name)]
    for name in _own_names(handler):
        if close := get_close_matches(name.lower(), lacking, 1, _ALIKE):
            return f"has the attribute {name!r}; did you mean {close[0]!r}?"
    return None


def _has(handler: object, name: str) -> bool:
    mine = inspect.getattr_static(handler, name, _ABSENT)
    return mine is not _ABSENT and mine is not JobHandler.on_failure


def _own_names(handler: object) -> list[str]:
    """What stands in a handler and its classes, as far as it is the application's."""
    spaces = [getattr(handler, "__dict__", {}), *map(vars, type(handler).__mro__)]
    names = {name for space in spaces for name in space}
    return sorted(name for name in names - set(dir(JobHandler)) if not name.startswith("_"))
