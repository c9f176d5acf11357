"""What the processes that handlers fork do not inherit from their worker: its way with signals.

A worker retires at SIGTERM, lets SIGINT pass and shows its stacks at another signal. A child that
did so too would not end when it is told to (`Pool.terminate`, `Process.terminate`), and would wake
its parent's loop by the descriptor that both share. So Python's own defaults hold in a child again;
handlers that the application has set stay, as in plain Python.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import threading
from typing import Any

from portico.supervisor.birth import SIGNAL_FOR_STACKS

_PLAIN: dict[signal.Signals, Any] = {
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGINT: signal.default_int_handler,
}
"""What Python does at the signals that a worker heeds in a way of its own."""


def disinherit() -> None:
    """Have what is forked from here on begin as in plain Python. To be called by the main thread,
    once the worker heeds its signals."""
    here = _Fork({number: signal.getsignal(number) for number in _PLAIN})
    os.register_at_fork(
        before=here.hold_signals,
        after_in_parent=here.release_signals,
        after_in_child=here.begin,
    )


class _Fork(threading.local):
    """A fork as one thread goes through it."""

    def __init__(self, ours: dict[signal.Signals, object]) -> None:
        self._ours = ours
        self._mask: set[int] | None = None

    def hold_signals(self) -> None:
        """One that reached a child before it begins would be taken for the worker's, and lost."""
        held = {*_PLAIN, SIGNAL_FOR_STACKS}
        self._mask = set(signal.pthread_sigmask(signal.SIG_BLOCK, held))

    def release_signals(self) -> None:
        if self._mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def begin(self) -> None:
        """Be an ordinary child. Its own children are left alone: it may have a loop by then."""
        ours = dict(self._ours)
        self._ours.clear()
        if ours:
            signal.set_wakeup_fd(-1)
            faulthandler.unregister(SIGNAL_FOR_STACKS)
        for number, plain in _PLAIN.items():
            if number in ours and signal.getsignal(number) == ours[number]:
                signal.signal(number, plain)
        self.release_signals()
