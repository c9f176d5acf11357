"""What a handler can try on others of its user: each way by a name, and how each went.

Runs in a worker: `tried` is imported there, by code in a payload. Every way is harmless where it
succeeds, so that it can be shown that it would without a sandbox.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import platform
import resource
import signal
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil

DONE = "done"
HARMLESS = signal.SIGURG
"""Whoever does not wait for it does not notice it."""
_libc = ctypes.CDLL(None, use_errno=True)
_NUMBERS = {
    "x86_64": {"bpf": 321, "add_key": 248, "request_key": 249, "keyctl": 250, "getfd": 438},
    "aarch64": {"bpf": 280, "add_key": 217, "request_key": 218, "keyctl": 219, "getfd": 438},
}
_SETTERS = {"x86_64": (314, 251), "aarch64": (274, 30)}


def tried(abstract: str) -> dict[str, str]:
    """How each way went: `done`, or the name of the error.

    Args:
        abstract: the name of a socket outside that listens.
    """
    above = os.getppid()
    beside = [pid for pid in _children(above) if pid != os.getpid()]
    found = {}
    for whom, pids in {"supervisor": [above], "others": beside}.items():
        for name, way in {**SIGNALS, **PROC, **CALLS}.items():
            found[f"{name}, {whom}"] = "/".join({_how(partial(way, pid)) for pid in pids})
    named = {"supervisor": [above], "zygote": [pid for pid in beside if _is_zygote(pid)]}
    for name, way in SCHEDULING.items():
        for whom, pids in ((whom, pids) for whom, pids in named.items() if pids):
            found[f"{name}, {whom}"] = "/".join({_how(partial(way, pid)) for pid in pids})
    _ask_for_signal(above, signal.SIGUSR1)
    found["abstract socket"] = _how(partial(_connect, abstract))
    found["priority of all of a user's"] = _how(partial(os.setpriority, os.PRIO_USER, 0, _nice()))
    found["type into a terminal"] = _how(_type_into_terminal)
    for name in ("bpf", "add_key", "request_key", "keyctl"):
        found[name] = _how(partial(_system_call, _NUMBERS[platform.machine()][name], 0, 0, 0, 0, 0))
    if platform.machine() == "x86_64":
        found["ptrace as of x32"] = _how(partial(_system_call, 0x40000000 | 101, 16, above, 0, 0))
        found["ptrace as of i386"] = _how(_ptrace_of_i386)
    return found


def _how(way: Callable[[], object]) -> str:
    try:
        way()
    except psutil.AccessDenied:
        return "EPERM"
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return DONE


def _children(pid: int) -> list[int]:
    return [*map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def _is_zygote(pid: int) -> bool:
    return b"zygote" in Path(f"/proc/{pid}/cmdline").read_bytes()


def _checked(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), "")


def _system_call(number: int, *arguments: int) -> None:
    _checked(_libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments)))


def _nice() -> int:
    return os.getpriority(os.PRIO_PROCESS, 0)


def _connect(name: str) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(f"\0{name}")


def _ask_for_signal(pid: int, number: int) -> None:
    """Have the kernel send it when there is something to read: nobody says whether it did."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        fcntl.fcntl(ours, fcntl.F_SETOWN, pid)
        fcntl.fcntl(ours, 10, number)  # F_SETSIG
        fcntl.fcntl(ours, fcntl.F_SETFL, os.O_ASYNC)
        theirs.send(b"x")


def _pidfd_signal(pid: int) -> None:
    handle = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(handle, HARMLESS)
    finally:
        os.close(handle)


def _pidfd_getfd(pid: int) -> None:
    handle = os.pidfd_open(pid)
    try:
        _system_call(_NUMBERS[platform.machine()]["getfd"], handle, 2, 0)
    finally:
        os.close(handle)


def _process_vm(name: str, pid: int) -> None:
    """Of nothing, which still takes the right to it."""
    place = (ctypes.c_size_t * 2)(0x1000, 1)
    result = getattr(_libc, name)(pid, place, 0, place, 1, 0)
    _checked(result)


def _attach(pid: int) -> None:
    _checked(_libc.ptrace(16, pid, None, None))
    os.waitpid(pid, 0x40000000)  # __WALL
    _checked(_libc.ptrace(17, pid, None, None))


def _set_limit(pid: int) -> None:
    resource.prlimit(pid, resource.RLIMIT_NOFILE, resource.prlimit(pid, resource.RLIMIT_NOFILE))


def _schedule(pid: int) -> None:
    os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0))


def _set_attributes(pid: int) -> None:
    attributes = ctypes.create_string_buffer(48)
    ctypes.c_uint32.from_buffer(attributes).value = 48
    ctypes.c_int32.from_buffer(attributes, 16).value = os.getpriority(os.PRIO_PROCESS, pid)
    number, _ = _SETTERS[platform.machine()]
    _system_call(number, pid, ctypes.addressof(attributes), 0)


def _join(pid: int) -> None:
    os.setpgid(0, os.getpgid(pid))
    os.setpgid(0, 0)


def _type_into_terminal() -> None:
    ours, theirs = os.openpty()
    try:
        fcntl.ioctl(theirs, 0x5412, b"x")  # TIOCSTI
    finally:
        os.close(ours)
        os.close(theirs)


def _ptrace_of_i386() -> None:
    """By `int 0x80`, as any program can, of whatever kind it is."""
    code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(bytes.fromhex("89f8cd80c3"))  # mov eax, edi; int 0x80; ret
    call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(
        ctypes.addressof(ctypes.c_char.from_buffer(code))
    )
    if call(20) != os.getpid():  # this kernel knows no such programs
        raise OSError(errno.ENOSYS, "")
    if (result := call(26)) < 0:
        raise OSError(-result, "")


def _write(name: str, text: str, pid: int) -> None:
    with open(f"/proc/{pid}/{name}", "w") as file:
        file.write(text)


def _read(name: str, pid: int) -> None:
    with open(f"/proc/{pid}/{name}", "rb") as file:
        file.read(0 if name == "mem" else 1)


def _score(pid: int) -> None:
    _write("oom_score_adj", Path(f"/proc/{pid}/oom_score_adj").read_text(), pid)


SIGNALS: dict[str, Callable[[int], Any]] = {
    "kill": lambda pid: os.kill(pid, HARMLESS),
    "kill with nothing": lambda pid: os.kill(pid, 0),
    "killpg": lambda pid: os.killpg(os.getpgid(pid), HARMLESS),
    "pidfd_send_signal": _pidfd_signal,
    "tgkill": lambda pid: _checked(_libc.tgkill(pid, pid, HARMLESS)),
    "sigqueue": lambda pid: _checked(_libc.sigqueue(pid, HARMLESS, None)),
    "SIGCONT": lambda pid: os.kill(pid, signal.SIGCONT),
}
PROC: dict[str, Callable[[int], Any]] = {
    "environ": partial(_read, "environ"),
    "mem": partial(_read, "mem"),
    "maps": partial(_read, "maps"),
    "fd": lambda pid: os.listdir(f"/proc/{pid}/fd"),
    "root": lambda pid: os.listdir(f"/proc/{pid}/root"),
    "cwd": lambda pid: os.listdir(f"/proc/{pid}/cwd"),
    "oom_score_adj": _score,
    "coredump_filter": partial(_write, "coredump_filter", "0x33"),
}
CALLS: dict[str, Callable[[int], Any]] = {
    "ptrace": _attach,
    "process_vm_readv": partial(_process_vm, "process_vm_readv"),
    "process_vm_writev": partial(_process_vm, "process_vm_writev"),
    "pidfd_getfd": _pidfd_getfd,
    "prlimit": _set_limit,
}
SCHEDULING: dict[str, Callable[[int], Any]] = {
    "sched_setaffinity": lambda pid: os.sched_setaffinity(pid, os.sched_getaffinity(pid)),
    "sched_setscheduler": _schedule,
    "sched_setparam": lambda pid: os.sched_setparam(pid, os.sched_param(0)),
    "sched_setattr": _set_attributes,
    "setpriority": lambda pid: os.setpriority(
        os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, pid)
    ),
    "setpriority of the group": lambda pid: os.setpriority(os.PRIO_PGRP, os.getpgid(pid), _nice()),
    "ioprio_set": lambda pid: psutil.Process(pid).ionice(psutil.IOPRIO_CLASS_NONE),
    "setpgid": _join,
}

MISPUT = {
    "setpriority of the group, supervisor", "type into a terminal", "bpf", "add_key", "request_key",
    "keyctl", "ptrace as of x32", "ptrace as of i386",
}  # fmt: skip
"""Ways with arguments that no kernel takes, or that this one, or root's processes, may refuse."""
