"""The job that every system here runs: it takes 120 bytes, does nothing, and is counted.

Standard library only: it runs in the environment of each system.
"""

from __future__ import annotations

import mmap
import os
import threading

_LENGTH = 120 - len('{"data":""}')


def payload() -> dict[str, str]:
    """120 bytes as compact JSON; a new string each time, as pickle sends the same one only once."""
    return {"data": "x" * _LENGTH}


class _Tally:
    """Counts what this process has done, in 8 bytes that the benchmark reads from outside."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slot: memoryview[int] | None = None
        os.register_at_fork(after_in_child=self._forget)

    def count(self) -> None:
        """One job more is done; from any thread."""
        with self._lock:
            if self._slot is None:
                self._slot = _new_slot(os.environ["BENCH_TALLY"])
            self._slot[0] += 1

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._slot = None


def _new_slot(path: str) -> memoryview[int]:
    """The next 8 bytes of the file: an append is atomic, and leaves its position after itself."""
    file = os.open(path, os.O_RDWR | os.O_APPEND)
    try:
        os.write(file, bytes(8))
        end = os.lseek(file, 0, os.SEEK_CUR)
        return memoryview(mmap.mmap(file, end)).cast("Q")[end // 8 - 1 :]
    finally:
        os.close(file)


done = _Tally().count
"""Called by the handler, as all that it does."""
