"""What `/proc/<pid>/stat` says of a process (Linux), by the fields after its name."""

from __future__ import annotations

from pathlib import Path

FLAGS = 6
"""The kernel's own; see EXITING and NEVER_EXECUTED."""
STARTED = 19
"""Ticks since boot."""

EXITING = 0x4
"""It has begun to end: it has given its memory back, and with that its command."""
NEVER_EXECUTED = 0x40
"""It is a copy of its parent that has started no program since."""

_AFTER_NAME = ") "
"""The name before it may hold anything."""


def fields(pid: int) -> list[str]:
    """Of a process that there is.

    Raises:
        OSError: it is gone.
    """
    text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    return text.rpartition(_AFTER_NAME)[2].split()
