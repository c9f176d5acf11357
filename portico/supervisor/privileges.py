"""Whose rights a supervisor has, and what binds its workers.

Rights are given up before the zygote is made, so that no process which runs handlers ever had
them; limits are taken on by the zygote (or a spawned worker) before it imports the application.
"""

from __future__ import annotations

import grp
import os
import pwd
import resource
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple, Protocol

from portico.exceptions import ConfigurationError
from portico.supervisor import birth, tampering
from portico.supervisor.tampering import Hands

RUNNING_AS_ROOT = (
    "handlers run with all rights on this machine; start with --user NAME, "
    "or say --allow-root if that is meant"
)

_PR_SET_NO_NEW_PRIVS = 38
_HIGHEST_OOM_SCORE = 1000


class Limits(NamedTuple):
    """What binds a worker; `None` leaves it as the supervisor has it."""

    address_space: int | None = None
    """Bytes of virtual memory; beyond them, memory is refused to the handler."""
    cpu: int | None = None
    """Seconds of processor time in a worker's life; then it is killed."""
    files: int | None = None
    """Open files."""
    core: int = 0
    """Bytes of a core file, which would hold payloads and secrets."""
    oom_score: int = 500
    """Added to the score by which a system out of memory chooses what to kill."""
    dumpable: bool | None = None
    """Whether others of the same user may look into the process (debuggers, `/proc`); `None`: only
    where there is no sandbox, or where core files are wanted, which need it."""
    sandbox: bool = True
    """Whether it is kept from others of the same user, see `sandbox`."""
    write: tuple[str, ...] = ()
    """Below what it may make and change files; anywhere when there is none."""


DEFAULT_LIMITS = Limits()


class Rights(Protocol):
    """What of a configuration says whose rights the supervisor is to have."""

    @property
    def user(self) -> str | None: ...
    @property
    def group(self) -> str | None: ...
    @property
    def umask(self) -> int: ...
    @property
    def production(self) -> bool: ...
    @property
    def allow_root(self) -> bool: ...


def assume(rights: Rights) -> None:
    """Become who the configuration says, for good; to be called before anything is made.

    Raises:
        ConfigurationError: there is no such user or group, this process may not become it, it
            could change what this process is made of, or this would run as root where that is
            refused.
    """
    os.umask(rights.umask)
    if rights.user is not None:
        _become(rights.user, rights.group)
    elif rights.group is not None:
        raise ConfigurationError("--group needs --user: a group alone gives up no rights")
    if rights.production and is_root() and not rights.allow_root:
        raise ConfigurationError(f"--production refuses to run as root: {RUNNING_AS_ROOT}")


def is_root() -> bool:
    """Whether this process may do everything."""
    return os.geteuid() == 0


def refuse_reach(user: str, group: str | None, places: Iterable[str]) -> None:
    """Make sure that this user cannot change what lies there.

    Raises:
        ConfigurationError: it can, or there is no such user or group.
    """
    if reached := tampering.within_reach(_hands(user, group), places):
        raise ConfigurationError(
            f"--user is {user!r}, who can change {', '.join(reached)}: what a handler leaves there "
            "would run, or be read, with this supervisor's rights when it starts again; start in a "
            "folder and from an installation that are root's (chown -R root, chmod -R go-w), and "
            "keep the queue elsewhere, such as --queue-url sqlite:////var/lib/portico/jobs.db"
        )


def confine(limits: Limits) -> None:
    """Bind this process and whatever it starts, for good.

    What the system does not offer, or has set tighter already, is left as it is.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            birth.prctl(_PR_SET_NO_NEW_PRIVS, 1)
        with suppress(OSError):
            _raise_oom_score(limits.oom_score)
    _lower(resource.RLIMIT_AS, limits.address_space)
    _lower(resource.RLIMIT_CPU, limits.cpu)
    _lower(resource.RLIMIT_NOFILE, limits.files)
    _lower(resource.RLIMIT_CORE, limits.core)


def _become(user: str, group: str | None) -> None:
    account = _account(user)
    uid = int(user) if account is None else account.pw_uid
    if group is not None:
        gid = _group_id(group)
    elif account is not None:
        gid = account.pw_gid
    else:
        raise ConfigurationError(f"--user is {user!r}, which has no account; give --group too")
    refuse_reach(user, group, tampering.own_places())
    if not is_root():
        if uid == os.geteuid() and (group is None or gid == os.getegid()):
            return
        raise ConfigurationError(
            f"--user is {user!r}: only root can become another user; start as root, or as "
            f"{user} without --user"
        )
    try:
        os.setgroups(_groups(account, gid))
        os.setgid(gid)
        os.setuid(uid)
    except OSError as error:
        raise ConfigurationError(f"--user is {user!r}: cannot become it: {error}") from error
    if uid != 0 and _can_return():
        raise ConfigurationError(f"--user is {user!r}: this system gives root's rights back")
    _check_interpreter(user)
    if account is not None:
        os.environ.update(HOME=account.pw_dir, USER=account.pw_name, LOGNAME=account.pw_name)


def _hands(user: str, group: str | None) -> Hands:
    account = _account(user)
    uid, gid = (int(user), None) if account is None else (account.pw_uid, account.pw_gid)
    gid = gid if group is None else _group_id(group)
    return Hands(uid, frozenset() if gid is None else frozenset({gid, *_groups(account, gid)}))


def _groups(account: pwd.struct_passwd | None, gid: int) -> list[int]:
    return [gid] if account is None else os.getgrouplist(account.pw_name, gid)


def _check_interpreter(user: str) -> None:
    """Find out now what would else end the start in the middle of an import."""
    for path, needed in ((sys.executable, os.X_OK), (os.__file__, os.R_OK), (__file__, os.R_OK)):
        if not os.access(path, needed):
            raise ConfigurationError(
                f"--user is {user!r}, who may not read {path}; install Python and the application "
                "where that user can read them"
            )


def _can_return() -> bool:
    try:
        os.setuid(0)
    except PermissionError:
        return False
    return True


def _account(user: str) -> pwd.struct_passwd | None:
    """The account of a name or a number, which may be without one."""
    try:
        found = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
    except (KeyError, OverflowError):
        if user.isdecimal() and int(user) < 2**32 - 1:
            return None
        raise ConfigurationError(f"--user is {user!r}, and there is no such user") from None
    return found


def _group_id(group: str) -> int:
    if group.isdecimal() and int(group) < 2**32 - 1:
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise ConfigurationError(f"--group is {group!r}, and there is no such group") from None


def _raise_oom_score(more: int) -> None:
    with open("/proc/self/oom_score_adj", "r+", encoding="ascii") as file:
        score = min(_HIGHEST_OOM_SCORE, int(file.read()) + more)
        file.seek(0)
        file.write(str(score))


def _lower(which: int, value: int | None) -> None:
    if value is None:
        return
    _, most = resource.getrlimit(which)
    value = value if most == resource.RLIM_INFINITY else min(value, most)
    with suppress(OSError, ValueError):
        resource.setrlimit(which, (value, value))
