"""Small files in which supervisors say how they are, for commands of the same user on this host.

They lie in a folder of the user's own, one of a kind for each process, there for as long as there
is something to say. What a supervisor that was killed has left there is passed over.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TypeVar

import msgspec
import psutil

from portico import compose
from portico.utils.logging import get_logger
from portico.utils.plain_files import read_plain
from portico.utils.store_urls import shown

_LARGEST = 65_536
"""Bytes of a file; one with more is none of these."""
_MOST = 10_000
"""Names in the folder that are looked at: handlers may fill it."""
_SAME = 1.0
"""Seconds by which two readings of when a process began may differ."""

logger = get_logger(__name__)


class Said(msgspec.Struct, frozen=True):
    """What one supervisor says of one store."""

    store: str
    pid: int
    born: float
    """When the process began, in seconds since 1970: its number may be another's by now."""


S = TypeVar("S", bound=Said)


class StateFile:
    """One file of this process."""

    def __init__(self, queue_url: str, kind: str) -> None:
        self.store = _key(queue_url)
        self.born = psutil.Process().create_time()
        self._kind = kind
        self._path: Path | None = None
        self._told: Said | None = None

    def put(self, said: Said) -> None:
        """Say this from now on."""
        if said == self._told:
            return
        self._told = said
        try:
            self._write(msgspec.json.encode(said))
        except OSError as error:
            logger.debug("state_not_told", kind=self._kind, error=str(error))

    def clear(self) -> None:
        """There is nothing to say, or this process ends."""
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
        name = f"{os.getpid()}.{self._kind}"
        path, new = folder / f"{name}.json", folder / f"{name}.new"
        with suppress(FileNotFoundError):
            new.unlink()
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
        self._path = new.replace(path)


def told(queue_url: str, kind: str, type_of_it: type[S]) -> list[S]:
    """What the living supervisors of this host and user say of this store."""
    found = (
        _read(path, type_of_it)
        for folder in _folders()
        if _is_own(folder)
        for path in _files(folder, kind)
    )
    store = _key(queue_url)
    return [one for one in found if one is not None and one.store == store and _lives(one)]


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


def _files(folder: Path, kind: str) -> Iterator[Path]:
    with suppress(OSError), os.scandir(folder) as found:
        names = sorted(entry.name for entry in islice(found, _MOST))
        yield from (folder / name for name in names if name.endswith(f".{kind}.json"))


def _read(path: Path, type_of_it: type[S]) -> S | None:
    with suppress(OSError, msgspec.MsgspecError, RecursionError):  # a handler may have written it
        return msgspec.json.decode(read_plain(path, _LARGEST), type=type_of_it)
    return None


def _lives(said: Said) -> bool:
    try:
        return abs(psutil.Process(said.pid).create_time() - said.born) < _SAME
    except (psutil.Error, ValueError):
        return False
