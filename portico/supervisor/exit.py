"""How a worker process ended, as the system tells it."""

from __future__ import annotations

import signal
from typing import NamedTuple

EXIT_APP = 4
"""Of a worker, a zygote and a supervisor alike: the application cannot be imported or opened."""


class Exit(NamedTuple):
    """How a process ended: an exit code, or the number of the signal that killed it."""

    code: int | None
    signal: int | None
    pid: int | None = None
    cpu_seconds: float | None = None
    """What it used in its whole life, with the children that it waited for."""
    peak_rss: int | None = None
    """Bytes that were resident at most."""
    oom_suspected: bool = False
    """It was killed, and the kernel has killed something for memory since."""

    def __str__(self) -> str:
        if self.signal is not None:
            hint = " (the kernel was short of memory)" if self.oom_suspected else ""
            return f"was killed by {self.signal_name}{hint}"
        return "vanished" if self.code is None else f"exited with code {self.code}"

    @property
    def signal_name(self) -> str | None:
        """The name of the signal that killed it."""
        return None if self.signal is None else _named(self.signal)


def _named(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # one of the real-time signals, most of which have no name
        return f"signal {number}"
