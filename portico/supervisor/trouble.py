"""What a supervisor tells of a store that it cannot use, in a file that `portico status` reads.

The store cannot hold it, for it is what is away. Each supervisor has a file in a folder of its
user's own, there for as long as the trouble lasts. What one that was killed has left there is
passed over.
"""

from __future__ import annotations

import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import psutil

from portico import compose
from portico.utils.log_lines import masked_urls
from portico.utils.logging import get_logger
from portico.utils.store_urls import shown

_LARGEST = 65_536
"""Bytes of a file that are looked at."""
_SAME = 1.0
"""Seconds by which two readings of when a process began may differ."""

logger = get_logger(__name__)


class Trouble(msgspec.Struct, frozen=True):
    """A store that one supervisor cannot use. Instants are seconds since 1970."""

    store: str
    pid: int
    born: float
    """When the process began: its number may be another's by now."""
    since: float
    said: str
    results_waiting: int

    def __str__(self) -> str:
        since = time.strftime("%H:%M:%S", time.localtime(self.since))
        seconds = max(0, round(time.time() - self.since))
        waiting = f"{self.results_waiting:,} result{'s' * (self.results_waiting != 1)}"
        return (
            f"supervisor {self.pid} leases nothing since {since} ({seconds} s): {self.said}; jobs "
            f"that run go on, and {waiting} of what has ended cannot be stored yet"
        )


class Notice:
    """The file of this process."""

    def __init__(self, queue_url: str) -> None:
        self._store = _key(queue_url)
        self._born = psutil.Process().create_time()
        self._path: Path | None = None
        self._told: Trouble | None = None

    def put(self, *, seconds: float, said: str, waiting: int) -> None:
        """The store cannot be used for so many seconds now; as often as it is known anew."""
        since = self._told.since if self._told else time.time() - seconds
        told = Trouble(self._store, os.getpid(), self._born, since, masked_urls(said), waiting)
        if told != self._told:
            self._told = told
            try:
                self._write(msgspec.json.encode(told))
            except OSError as error:
                logger.debug("trouble_not_told", error=str(error))

    def clear(self) -> None:
        """All is well, or this process ends."""
        self._told = None
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink()
            self._path = None

    def _write(self, data: bytes) -> None:
        folder = _folders()[0]
        folder.mkdir(mode=0o700, exist_ok=True)
        if not _is_own(folder):
            raise OSError(f"{folder} is not a folder that is this user's alone")
        path, new = folder / f"{os.getpid()}.json", folder / f"{os.getpid()}.new"
        with suppress(FileNotFoundError):
            new.unlink()
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
        self._path = new.replace(path)


def troubles(queue_url: str) -> list[Trouble]:
    """What the living supervisors of this host and user tell of this store."""
    told = (_read(path) for folder in _folders() if _is_own(folder) for path in _files(folder))
    store = _key(queue_url)
    return [one for one in told if one is not None and one.store == store and _lives(one)]


def _key(queue_url: str) -> str:
    """The store, whatever else its URL says."""
    path = compose.sqlite_file(queue_url)
    return compose.resolved(path) if path else shown(queue_url.partition("?")[0])


def _folders() -> list[Path]:
    places = [os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir()]
    return [Path(place) / f"portico-{os.geteuid()}" for place in places if place]


def _is_own(folder: Path) -> bool:
    try:
        found = folder.lstat()
    except OSError:
        return False
    private = stat.S_ISDIR(found.st_mode) and not stat.S_IMODE(found.st_mode) & 0o077
    return private and found.st_uid == os.geteuid()


def _files(folder: Path) -> Iterator[Path]:
    with suppress(OSError):
        yield from sorted(folder.glob("*.json"))


def _read(path: Path) -> Trouble | None:
    with suppress(OSError, msgspec.MsgspecError), path.open("rb") as file:
        return msgspec.json.decode(file.read(_LARGEST), type=Trouble)
    return None


def _lives(trouble: Trouble) -> bool:
    try:
        return abs(psutil.Process(trouble.pid).create_time() - trouble.born) < _SAME
    except (psutil.Error, ValueError):
        return False
