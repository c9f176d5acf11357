"""Reaping what was adopted: processes that handlers started and that outlived their worker.

A supervisor is a subreaper, and may be process 1 of a container; somebody must collect them.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress


def reap(workers: Collection[int]) -> list[int]:
    """Collect dead children that are not among `workers`, whose status belongs to the crew."""
    reaped = []
    with suppress(ChildProcessError):
        while found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if found.si_pid in workers:
                break  # it is collected in a moment; the others wait for the next sweep
            os.waitpid(found.si_pid, os.WNOHANG)
            reaped.append(found.si_pid)
    return reaped
