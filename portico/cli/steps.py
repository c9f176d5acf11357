"""Work that is done in steps, and what Ctrl-C means to it: that what is told is what was done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Self

from portico.cli.messages import complain


class Steps:
    """Lets the step that runs come to its end, and be counted, before Ctrl-C ends the work.

    Between steps Ctrl-C ends it at once; a second one ends also the step, of which nobody knows
    then what became of it: `cut_short` says so.
    """

    def __init__(self) -> None:
        self.cut_short = False
        self._running = False
        self._asked = False
        self._ours = False

    def __enter__(self) -> Self:
        main = threading.current_thread() is threading.main_thread()
        self._ours = main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._ours:  # else somebody has decided otherwise: nohup, or a program around this one
            signal.signal(signal.SIGINT, self._heard)
        return self

    def __exit__(self, *_: object) -> None:
        if self._ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    @contextmanager
    def step(self) -> Iterator[None]:
        """One step, with the counting of what it did.

        Raises:
            KeyboardInterrupt: at its end, when it was asked for meanwhile.
        """
        self._running = True
        try:
            yield
        except BaseException:
            self.cut_short = True
            raise
        finally:
            self._running = False
        if self._asked:
            raise KeyboardInterrupt

    def _heard(self, _number: int, _frame: FrameType | None) -> None:
        if not self._running or self._asked:
            raise KeyboardInterrupt
        self._asked = True
        complain("ending with what is under way; Ctrl-C again ends at once")
