"""Whether the kernel may have killed a worker because memory ran out: what its own counter says.

A death by SIGKILL alone does not tell: operators and other supervisors kill too. The kernel counts
its kills for every control group (`memory.events`, or `memory.oom_control` in version 1), and for
the whole machine (`/proc/vmstat`), so a count that has grown when a worker is found dead makes the
kernel the suspect. It stays a suspicion: something else in the same container may have been it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

_RECENT = 1.0
"""Seconds: kills come in groups (`memory.oom.group`), and the deaths are noticed one by one."""


class OomCounter:
    """The kernel's count of the processes that it has killed for memory, in one file."""

    def __init__(self, path: Path | None, clock: Callable[[], float] = monotonic) -> None:
        """Remember where the count stands.

        Args:
            path: what `counter_file` found; `None` where nothing counts, so nothing is suspected.
            clock: seconds.
        """
        self._path = path
        self._clock = clock
        self._count = 0
        self._grown_at: float | None = None
        self._count = self._read()

    def suspected(self) -> bool:
        """Whether a process that has just been found killed may have been killed for memory."""
        count, now = self._read(), self._clock()
        if count > self._count:
            self._grown_at = now
        self._count = count
        return self._grown_at is not None and now - self._grown_at < _RECENT

    def _read(self) -> int:
        """The count now; the last one where it cannot be read."""
        kills = None if self._path is None else kills_in(_text(self._path))
        return self._count if kills is None else kills


def kills_in(text: str) -> int | None:
    """The kills that such a file counts; `None` when it counts none of that kind."""
    for line in text.splitlines():
        name, _, count = line.partition(" ")
        if name == "oom_kill" and count.strip().isdigit():
            return int(count)
    return None


def counter_file(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> Path | None:
    """The file that counts for this process: of its control group, else of the whole machine."""
    for path in [*_of_groups(_text(proc / "self/cgroup"), groups), proc / "vmstat"]:
        if kills_in(_text(path)) is not None:
            return path
    return None


def _of_groups(memberships: str, groups: Path) -> Iterator[Path]:
    """Where the counter of each group may be; a container may see its own group as the root."""
    for line in memberships.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, name = rest.partition(":")
        if not controllers:
            yield groups / name.lstrip("/") / "memory.events"
            yield groups / "memory.events"
        elif "memory" in controllers.split(","):
            yield groups / "memory" / name.lstrip("/") / "memory.oom_control"
            yield groups / "memory" / "memory.oom_control"


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""
