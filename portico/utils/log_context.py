"""The context that every line logged here carries.

It lives in one `ContextVar` that holds a mapping nobody changes: binding is one `set` of a merged
copy, and values are turned into text only when a line is written. A thread begins without one, in
Python, and then has the context that it was lent, if any.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from contextvars import ContextVar, Token
from threading import Thread
from types import TracebackType
from typing import Any, Self

_NOTHING: Mapping[str, Any] = {}

_context: ContextVar[Mapping[str, Any] | None] = ContextVar("portico_log_context", default=None)
_LENT = "_portico_log_context"
"""Where a thread bears the context of whoever it works for."""


def bind_context(**values: Any) -> None:
    """Add to the context of this task or thread, and of the tasks it starts from now on.

    Values may be anything, such as a UUID: they become text only when a line is written.
    """
    _context.set({**current_context(), **values})


def bind_values(values: Mapping[str, Any]) -> None:
    """As `bind_context`, with the values in a mapping of the caller's that nobody changes."""
    bound = current_context()
    _context.set({**bound, **values} if bound else values)


def clear_context() -> None:
    """Empty the context of this task or thread."""
    _context.set(_NOTHING)


def current_context() -> Mapping[str, Any]:
    """What is bound here and now; not to be changed."""
    bound = _context.get()
    return _lent() if bound is None else bound


def lend_context(thread: Thread, context: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Let a thread log in this context while it has none of its own; the one that it was lent
    before."""
    before = thread.__dict__.get(_LENT)
    thread.__dict__[_LENT] = context
    return before


def _lent() -> Mapping[str, Any]:
    thread = threading._active.get(threading.get_ident())  # type: ignore[attr-defined]
    return (None if thread is None else thread.__dict__.get(_LENT)) or _NOTHING


class log_context:  # noqa: N801 - reads as a statement
    """Bind values for the length of a block: `with log_context(user=7):`, or `async with`."""

    __slots__ = ("_token", "_values")

    def __init__(self, **values: Any) -> None:
        self._values = values
        self._token: Token[Mapping[str, Any] | None] | None = None

    def __enter__(self) -> Self:
        self._token = _context.set({**current_context(), **self._values})
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._token is not None:
            with suppress(ValueError):  # left in another context than entered: nothing to undo
                _context.reset(self._token)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(exc_type, exc, traceback)
