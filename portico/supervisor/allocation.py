"""What becomes of freed memory: a process that passes large jobs on has use for it at once.

glibc gives the top of its heap back to the system whenever about two megabytes of it are free, and
takes it again for the next frame, page fault by page fault. With payloads and results of 1 MiB
that cost more than half of all the processor time of supervisor and workers.
"""

from __future__ import annotations

import ctypes
import os

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
"""The parameters of `mallopt` (malloc.h)."""
_MIB = 1024 * 1024
_KEPT = 16 * _MIB
"""Bytes that may stay at the top of the heap: a few of the largest jobs on their way."""
_AT_ONCE = 4 * _MIB
"""Bytes by which the heap grows; untouched ones take no memory. What is larger than this gets
pages of its own, and these always go back at once."""
_OPERATORS_OWN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_THRESHOLD_")


def retain() -> None:
    """Have this process keep some freed memory, unless its environment says what it should keep.

    Does nothing where the C library is another one: they have habits of their own.
    """
    if any(name in os.environ for name in (*_OPERATORS_OWN, "GLIBC_TUNABLES")):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    for parameter, value in (
        (_TRIM_THRESHOLD, _KEPT), (_TOP_PAD, _AT_ONCE), (_MMAP_THRESHOLD, _AT_ONCE),
    ):  # fmt: skip
        mallopt(parameter, value)


def give_back() -> None:
    """Return what is free now, whatever was said before: what is forked later shares less of it."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
