"""The phases of a shutdown."""

from __future__ import annotations

from enum import IntEnum


class Phase(IntEnum):
    """How far a shutdown has come."""

    WORKING = 0
    DRAINING = 1
    CANCELLED = 2
    """The grace is over: what runs was told to stop, and nothing is begun, not even mourning."""
    KILLED = 3
