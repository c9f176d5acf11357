"""Landlock: what a process may do to others, and where it may write, by the kernel's leave.

A process that restricts itself is in a domain, and so is whatever it starts. It may look into, and
with scopes signal, only what is in its own domain or in one that was made within it: a worker its
children, but no sibling and nobody above. Who is outside may signal in.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
import sys
from collections.abc import Iterable
from contextlib import suppress
from functools import cache

from portico.supervisor import birth

SCOPES = 6
"""The version from which there are scopes (Linux 6.12)."""
RENAMES = 2
"""From which a file may be moved between two folders below a path that is open (Linux 5.19)."""
TRUNCATION = 3
"""From which truncating counts as writing (Linux 6.2)."""

_CREATE, _ADD, _RESTRICT = 444, 445, 446
"""System calls; their numbers are the same on all machines that Python runs on, but for Alpha."""
_ASK_VERSION = 1
_BENEATH = 1
_ABSTRACT_SOCKETS, _SIGNALS = 1, 2
_WRITE_FILE, _REFER, _TRUNCATE = 1 << 1, 1 << 13, 1 << 14
_MAKE_AND_REMOVE = sum(1 << bit for bit in range(4, 13))
"""Directories, files, sockets, fifos, devices, links."""


@cache
def version() -> int:
    """Of the kernel's Landlock; 0 where there is none, or where it may not be used."""
    if sys.platform != "linux":
        return 0
    with suppress(OSError):
        return _call(_CREATE, None, 0, _ASK_VERSION)
    return 0


def enclose(paths: Iterable[str] = ()) -> None:
    """From now on this process and its children signal nobody outside, and connect to no abstract
    socket there, as far as the kernel has scopes; and where there are paths, they make, change,
    move and remove files only below these. Files that are open already stay as they are.

    Raises:
        OSError: the kernel refuses, or one of the paths cannot be opened.
    """
    paths = list(paths)
    _restrict(paths, _write_rights() if paths else 0)


def part(*, bounded: bool) -> None:
    """The same once more, for one of those in there: the others are outside of it then.

    Args:
        bounded: whether there were paths. To move files is refused in each domain that does not
            allow it, once one of them has bounds for files.

    Raises:
        OSError: the kernel refuses.
    """
    _restrict(["/"], _REFER if bounded and version() >= RENAMES else 0)


def _restrict(paths: Iterable[str], rights: int) -> None:
    scoped = _ABSTRACT_SOCKETS | _SIGNALS if version() >= SCOPES else 0
    if not rights and not scoped:
        return
    attributes = struct.pack("=QQQ", rights, 0, scoped)
    size = len(attributes) if scoped else 8  # an older kernel knows the first word alone
    ruleset = _call(_CREATE, attributes, size, 0)
    try:
        for path in paths if rights else ():
            _allow(ruleset, path, rights)
        _call(_RESTRICT, ruleset, 0)
    finally:
        os.close(ruleset)


def _write_rights() -> int:
    rights = _WRITE_FILE | _MAKE_AND_REMOVE
    if version() >= RENAMES:
        rights |= _REFER
    if version() >= TRUNCATION:
        rights |= _TRUNCATE
    return rights


def _allow(ruleset: int, path: str, rights: int) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            rights &= _WRITE_FILE | _TRUNCATE
        _call(_ADD, ruleset, _BENEATH, struct.pack("=Qi", rights, fd), 0)
    finally:
        os.close(fd)


def _call(number: int, *arguments: int | bytes | None) -> int:
    words = [
        ctypes.c_long(given) if isinstance(given, int) else ctypes.c_char_p(given)
        for given in arguments
    ]
    return birth.system_call(number, *words)
