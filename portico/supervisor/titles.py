"""What our processes are called in lists of processes, such as those of `ps` and `top`.

A title takes the place of the arguments, with whatever they gave away, and of nothing else: what
`/proc` shows of a process's environment stays there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache

_CHANGES = 8
"""Changes of a worker's title in one turn of its loop. Each costs a tenth of a job that does
nothing; so they cost less than a hundredth of the time, however the types take turns."""


def show(title: str) -> None:
    """Call this process so."""
    _setter()(title)


@cache  # for this process and all that are forked from it
def _setter() -> Callable[[str], None]:
    """What sets a title, told for good to leave the environment alone."""
    given = os.environ.get("SPT_NOENV")
    os.environ["SPT_NOENV"] = "yes"  # read once, where the first title is set
    try:
        from setproctitle import setproctitle

        setproctitle("portico")  # not as it is: arguments need not be text
    finally:
        if given is None:
            del os.environ["SPT_NOENV"]
        else:
            os.environ["SPT_NOENV"] = given
    return setproctitle


class WorkerTitle:
    """Of a worker: its number, and the type of the job that it runs, never that of another."""

    def __init__(self, worker: int, concurrency: int = 1) -> None:
        """Call this process a worker. One with several jobs at a time names none of them."""
        self._set = _setter()
        self._plain = f"portico worker {worker}"
        self._most = _CHANGES if concurrency == 1 else 0
        self._left = self._most
        self.shown: str | None = None
        """The type that it names."""
        show(self._plain)

    def turn(self) -> None:
        """The loop gets a turn: the title may change again."""
        self._left = self._most

    def running(self, job_type: str) -> None:
        """A job of this type begins."""
        if job_type == self.shown:
            return
        if self._left > 1:
            self._left -= 1
            self.shown = job_type
            self._set(f"{self._plain}: {_readable(job_type)}")
        else:
            self._name_none()

    def idle(self) -> None:
        """Nothing runs."""
        self.turn()
        self._name_none()

    def _name_none(self) -> None:
        if self.shown is not None:
            self.shown = None
            self._set(self._plain)


def _readable(job_type: str) -> str:
    """Whatever a store holds for a type: what cannot be shown is spelt out."""
    if job_type.isprintable():
        return job_type
    return job_type.encode("unicode_escape").decode("ascii")
