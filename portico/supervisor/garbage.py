"""The garbage collector of a supervisor: few cycles, and many values that live for a while."""

from __future__ import annotations

import gc

_YOUNG, _MIDDLE, _OLD = 50_000, 20, 50
"""Allocations until the youngest are looked through, and how often that until the older ones are.
Python's own 700 would have a batch of jobs looked through several times on its way, and all that
waits in memory with it."""


def calm() -> None:
    """Leave alone what is there after the start, and look seldom at what comes later."""
    gc.collect()
    gc.freeze()
    gc.enable()
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)
