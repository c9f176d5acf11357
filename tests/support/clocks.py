"""A wall clock of its own for a server, moved while the server runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from tests.support.servers import missing

_LIBRARIES = "/usr/lib/*/faketime/libfaketime.so.1"


class Clock:
    """What `environment` is given to sees the machine's wall clock plus an offset.

    Clocks that only measure (monotonic ones) are left as they are, as when an operator or NTP sets
    a machine's clock. Skips the test where libfaketime is not installed.
    """

    def __init__(self, folder: Path) -> None:
        found = sorted(Path("/").glob(_LIBRARIES[1:]))
        if not found:
            missing("faketime")
        _sweep()
        self._file = folder / "clock"
        self.environment: Mapping[str, str] = {
            # The C library once more: Redis's own allocator asks for the time before it is ready.
            "LD_PRELOAD": f"{found[0]}:libc.so.6",
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        self.move(0)

    def move(self, seconds: float) -> None:
        """Set the offset from the machine's clock, at once and for all who look."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+f}\n")
        new.chmod(0o644)
        os.replace(new, self._file)


def _sweep() -> None:
    """Remove what the library of servers that were killed has left behind."""
    for left in Path("/dev/shm").glob("*faketime_s*_*"):
        if not Path(f"/proc/{left.name.rpartition('_')[2]}").exists():
            left.unlink(missing_ok=True)
