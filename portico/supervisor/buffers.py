"""What files of this process have taken and not written yet, and how it gets written.

Python writes it when a file object goes, and all of them go when an interpreter ends. Processes of
ours end otherwise (`parting`), and one that is forked has copies of what was not written by then.
"""

from __future__ import annotations

import gc
import io
import logging
import sys
import weakref
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

_TEXTS: tuple[type[Any], ...] = (io.TextIOWrapper,)
_BINARIES: tuple[type[Any], ...] = (io.BufferedWriter, io.BufferedRandom, io.BufferedRWPair)
_NATIVE = {*_TEXTS, *_BINARIES, io.FileIO, io.BytesIO, io.StringIO, io.BufferedReader}
_BASE: type = io.IOBase.__mro__[1]  # the one in C: to ask the other one takes long
_known: list[weakref.ref[Any]] = []
"""Files that were open when the garbage collector's heap was frozen: it does not list them now."""


def note() -> None:
    """Remember the files that are open; to be called before `gc.freeze`."""
    _known.extend(weakref.ref(file) for file in _files())


def flush() -> None:
    """Have everything written that open files and log handlers hold back."""
    flush_logs()
    files = _files()
    _flush(files, _TEXTS)
    _flush(files, _BINARIES)


def flush_logs() -> None:
    """The same, of the handlers alone, which takes no time."""
    for reference in list(logging._handlerList):  # type: ignore[attr-defined]
        with suppress(Exception):
            reference().flush()


def finish() -> None:
    """The same at the end of this process; what writes an end of its own (gzip) does so."""
    own = list(_files())
    files = [*own, *filter(None, (reference() for reference in _known))]
    _flush(files, _TEXTS)
    for file in own:
        if type(file) not in _NATIVE and file not in (sys.stdout, sys.stderr, sys.stdin):
            with suppress(Exception):
                file.close()
    _flush(files, _BINARIES)


def _files() -> list[Any]:
    objects = gc.get_objects()
    kinds = {kind for kind in set(map(type, objects)) if issubclass(kind, _BASE)}
    return [found for found in objects if type(found) in kinds]


def _flush(files: Iterable[Any], kinds: tuple[type[Any], ...]) -> None:
    for file in files:
        with suppress(Exception):  # closed, or its disk full: there is nobody left to be told
            if isinstance(file, kinds) and file.writable():
                file.flush()
