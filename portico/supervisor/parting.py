"""How a process of ours ends in good order: what Python runs at its end is run, for some seconds.

Threads that are no daemons are joined, exit handlers are called (finalizers, temporary folders,
log handlers, the children of multiprocessing), files are written. What takes longer is named and
cut off. The interpreter itself is not taken down: in a process that was forked, the native code of
libraries may not survive that.

What was registered before a fork belongs to the process that was forked, and runs there, once: a
folder that the application made when it was imported serves all workers.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import traceback
import weakref
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import Any, NoReturn

from portico.supervisor import buffers
from portico.utils.logging import get_logger

PATIENCE = 5.0
"""Seconds that all of it may take."""
_FRAMES = 5
_NAMED = 5

logger = get_logger(__name__)


def begin_anew() -> None:
    """In a process that was forked just now: leave to the other one what it has registered."""
    atexit._clear()
    modules: Any = sys.modules
    for finalizer in list(weakref.finalize._registry):  # type: ignore[attr-defined]
        finalizer.atexit = False
    if "multiprocessing.process" in modules:
        modules["multiprocessing.process"]._children = set()
    atexit.register(logging.shutdown)
    if "multiprocessing.util" in modules:
        atexit.register(modules["multiprocessing.util"]._exit_function)
    if weakref.finalize._registered_with_atexit:  # type: ignore[attr-defined]
        atexit.register(weakref.finalize._exitfunc)  # type: ignore[attr-defined]


def limit(seconds: float) -> None:
    """From now on this process takes so many seconds at most to end. Where there is no memory for a
    thread there is none for what would run, either: it ends at once then."""
    work = copy_context().run
    thread = threading.Thread(target=work, args=(_cut_off, seconds), daemon=True)
    try:
        thread.start()
    except RuntimeError:
        os._exit(0)


def leave() -> NoReturn:
    """End this process as Python ends one, with exit code 0."""
    for step in (threading._shutdown, atexit._run_exitfuncs, buffers.finish):  # type: ignore[attr-defined]
        _take(step)
    for stream in (sys.stdout, sys.stderr):
        with suppress(BaseException):  # a handler may have put anything there
            stream.flush()
    os._exit(0)


def _take(step: Callable[[], object]) -> None:
    try:
        step()
    except BaseException:  # noqa: BLE001 - the others are to run all the same
        traceback.print_exc()


def _cut_off(seconds: float) -> None:
    threading.Event().wait(seconds)
    main = threading.main_thread()
    frame = sys._current_frames().get(main.ident or 0)
    logger.warning(
        "exit_cut_off",
        seconds=seconds,
        threads=[t.name for t in threading.enumerate() if not t.daemon and t is not main][:_NAMED],
        processes=_children()[:_NAMED],
        waits_in="".join(traceback.format_stack(frame, limit=_FRAMES)) if frame else "",
        note="threads that are no daemons, processes, and exit handlers have this long at the end "
        "of their process; the rest of them is lost",
    )
    os._exit(0)


def _children() -> list[str]:
    """Those that multiprocessing would wait for."""
    process: Any = sys.modules.get("multiprocessing.process")
    return [f"{child.name} ({child.pid})" for child in list(getattr(process, "_children", ()))]
