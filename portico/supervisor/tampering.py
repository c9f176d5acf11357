"""What a user could change of that which a supervisor imports and reads when it starts.

Handlers that could would have the supervisor's rights from its next start on: to write a module
where it looks for one is enough, or to put another folder in the place of the one that has it.
"""

from __future__ import annotations

import os
import site
import stat
import struct
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

CODE_IS_WRITABLE = (
    "handlers could change what the supervisor imports or reads when it starts again; give code to "
    "another user, keep the queue apart from it, or say --limits write=FOLDER"
)

_NAMED = 3
"""Places that a message names."""
_ACL = "system.posix_acl_access"
_ENTRY = struct.Struct("<HHI")
_LISTED_USER, _LISTED_GROUP, _MASK = 0x02, 0x08, 0x10
_WRITE = 2


class Hands(NamedTuple):
    """A user, as the permissions of files know one."""

    uid: int
    groups: frozenset[int]

    @classmethod
    def own(cls) -> Hands:
        """Those of this process."""
        return cls(os.geteuid(), frozenset({os.getegid(), *os.getgroups()}))


def within_reach(who: Hands, paths: Iterable[str], writable: Iterable[str] = ()) -> list[str]:
    """The first few files and folders that this user can change or replace, on the ways to these.

    What is not there counts as changed by whoever could make it. Root's rights need no question.

    Args:
        who: the user.
        paths: files and folders.
        writable: the only folders that it may write to, if there is such a limit.
    """
    if who.uid == 0:
        return []
    below = tuple(os.path.join(os.path.realpath(folder), "") for folder in writable)
    seen: set[tuple[str, bool]] = set()
    reached = (
        place
        for path in paths
        for place, above in _way(path, seen)
        if _can_change(who, place, above)
        if not below or os.path.join(os.path.realpath(place), "").startswith(below)
    )
    return list(islice(reached, _NAMED))


def own_places() -> Iterator[str]:
    """What this process is made of: the working directory, with the settings that may lie there,
    all places of modules, the interpreter and the modules that it has loaded."""
    with suppress(OSError):
        yield os.getcwd()
    for folder in filter(os.path.isabs, sys.path):
        yield folder
        yield from _path_files(folder)
    if site.ENABLE_USER_SITE and site.USER_SITE:
        yield site.USER_SITE  # also where it is not there yet
    if sys.pycache_prefix:
        yield sys.pycache_prefix
    yield sys.executable
    yield os.path.join(sys.prefix, "pyvenv.cfg")
    for module in tuple(sys.modules.values()):
        for name in ("__file__", "__cached__"):
            if isinstance(file := getattr(module, name, None), str):
                yield file


def exposed(writable: Iterable[str] = ()) -> list[str]:
    """The first few of them that handlers of this process's own user could change.

    Args:
        writable: the only folders that they may write to, if there is such a limit.
    """
    return within_reach(Hands.own(), own_places(), writable)


def may_change(found: os.stat_result, who: Hands, *, above: bool) -> bool:
    """Whether a file or a folder with this status can be changed, as far as its status says.

    An owner can, whatever the mode says: it can change that.

    Args:
        found: the status.
        who: by whom.
        above: it is only on the way: what counts is whether what lies in it can be replaced.
    """
    if found.st_uid == who.uid:
        return True
    if above and found.st_mode & stat.S_ISVTX:
        return False  # what lies there can be replaced by its own owner alone
    bit = stat.S_IWGRP if found.st_gid in who.groups else stat.S_IWOTH
    return bool(found.st_mode & bit)


def is_listed(access_list: bytes, who: Hands) -> bool:
    """Whether an access control list, as the kernel keeps it, lets this user write by name."""
    entries = list(_ENTRY.iter_unpack(access_list[4 : len(access_list) // 8 * 8 + 4]))
    mask = next((rights for tag, rights, _ in entries if tag == _MASK), _WRITE)
    return any(
        rights & mask & _WRITE
        for tag, rights, number in entries
        if (tag == _LISTED_USER and number == who.uid)
        or (tag == _LISTED_GROUP and number in who.groups)
    )


def _path_files(folder: str) -> Iterator[str]:
    """Those whose lines are run when Python starts."""
    with suppress(OSError), os.scandir(folder) as entries:
        yield from (entry.path for entry in entries if entry.name.endswith(".pth"))


def _way(path: str, seen: set[tuple[str, bool]]) -> Iterator[tuple[str, bool]]:
    """A path, or what there is of it, and all folders that lead there, by way of links, too; each
    once, with whether it is only on the way."""
    path, above = os.path.abspath(path), False
    while not os.path.lexists(path) and path != os.path.dirname(path):
        path = os.path.dirname(path)
    while (path, above) not in seen:
        seen.add((path, above))
        yield path, above
        if os.path.islink(path):
            yield from _way(os.path.join(os.path.dirname(path), os.readlink(path)), seen)
        path, above = os.path.dirname(path), True


def _can_change(who: Hands, place: str, above: bool) -> bool:  # noqa: FBT001
    try:
        found = os.stat(place)
        changed = may_change(found, who, above=above) or _lets_in(place, found, who)
        return changed and not os.statvfs(place).f_flag & os.ST_RDONLY
    except OSError:
        return False  # not there, or not to be seen


def _lets_in(place: str, found: os.stat_result, who: Hands) -> bool:
    """By its access control list, of which the mode shows that there may be one that lets write."""
    if sys.platform != "linux" or not found.st_mode & stat.S_IWGRP:
        return False
    try:
        return is_listed(os.getxattr(place, _ACL), who)
    except OSError:
        return False
