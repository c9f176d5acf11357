"""seccomp: the system calls by which a process reaches into another one, refused.

A filter is a program that the kernel runs before each call. It is written here as nested blocks,
each of which answers; what comes to the end is allowed. A call that no block looks at costs nothing
worth measuring: the kernel notes, when it takes the filter on, which are allowed whatever their
arguments.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from functools import cache
from typing import NamedTuple

from portico.supervisor import birth

Block = list[tuple[int, int, int, int]]
"""Instructions: operation, how many to skip where it holds, and where it does not, value."""

_LOAD, _EQUAL, _AT_LEAST, _SKIP, _ANSWER = 0x20, 0x15, 0x35, 0x05, 0x06
"""A comparison can skip 255 instructions, `_SKIP` any number."""
_NUMBER, _ARCHITECTURE = 0, 4
"""Where a call's number and its architecture lie in what a filter is shown."""
_ALLOW, _REFUSE, _ABSENT = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
_SET_FILTER, _ASK_ACTION = 1, 2
_KEEP_SPEED = 1 << 2
"""SECCOMP_FILTER_FLAG_SPEC_ALLOW: older kernels would slow down all that the process computes."""
_X32 = 0x40000000
"""On x86-64, what is added to the number of a call in the x32 convention, which nobody uses."""
_MOST_STRANGERS = 64
_INSTRUCTION, _VALUE = 8, 4
"""Bytes of an instruction, and where its value lies in it."""
_WHOEVER = 2**32 - 1
"""Stands for the process that takes the filter on, which may set its limits by its number, too
(zero stands for the caller)."""

_PROCESS, _GROUP, _USER = 0, 1, 2
"""Whom `setpriority` is about; for `ioprio_set` each is one more."""
_TYPE_INTO_TERMINAL = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX."""


class Architecture(NamedTuple):
    """One convention of calling the kernel: how the kernel names it, and its numbers of calls."""

    name: int
    reaching: Sequence[int]
    """ptrace, process_vm_readv, process_vm_writev, pidfd_getfd, bpf, add_key, request_key,
    keyctl."""
    prlimit64: int
    scheduling: Sequence[int]
    """sched_setaffinity, sched_setscheduler, sched_setparam, sched_setattr."""
    setpriority: int
    ioprio_set: int
    setpgid: int
    ioctl: int


_X86_64 = Architecture(
    0xC000003E, (101, 310, 311, 438, 321, 248, 249, 250), 302, (203, 144, 142, 314), 141, 251,
    109, 16,
)  # fmt: skip
_I386 = Architecture(
    0x40000003, (26, 347, 348, 438, 357, 286, 287, 288), 340, (241, 156, 154, 351), 97, 289, 57, 54
)
_AARCH64 = Architecture(
    0xC00000B7, (117, 270, 271, 438, 280, 217, 218, 219), 261, (122, 119, 118, 274), 140, 30,
    154, 29,
)  # fmt: skip
_ARM = Architecture(
    0x40000028, (26, 376, 377, 438, 386, 309, 310, 311), 369, (241, 156, 154, 380), 97, 314, 57, 54
)

_MACHINES = {"x86_64": (317, (_X86_64, _I386)), "aarch64": (277, (_AARCH64, _ARM))}
"""The number of `seccomp` itself, and what programs may call the kernel by: also 32-bit ones."""


class Others(NamedTuple):
    """Whom a process must leave alone, by numbers that are known when the filter is made."""

    threads: AbstractSet[int]
    """Of the supervisor, and the zygote."""
    groups: AbstractSet[int]
    """Process groups."""


@cache
def offered() -> bool:
    """Whether this kernel has filters, and the numbers of this machine's calls are known."""
    if sys.platform != "linux" or sys.maxsize < 2**32 or platform.machine() not in _MACHINES:
        return False
    number, _ = _MACHINES[platform.machine()]
    with suppress(OSError):
        wanted = ctypes.c_uint32(_REFUSE & 0xFFFF0000)
        birth.system_call(
            number, ctypes.c_long(_ASK_ACTION), ctypes.c_long(0), ctypes.byref(wanted)
        )
        return True
    return False


class Filter:
    """One as the kernel takes it. It is made before the process that takes it on is born: what is
    made there would be memory of each worker."""

    def __init__(self, others: Others, *, again: bool = False) -> None:
        """Write it.

        Args:
            others: whose priority, processors and limits a process may not set, and whose group
                not join.
            again: it comes on top of another filter, and says only what that one has not. Limits
                can then be set of nobody but the process that takes it on.
        """
        number, architectures = _MACHINES[platform.machine()]
        instructions = program(architectures, others, _WHOEVER if again else None)
        code = b"".join(struct.pack("=HBBI", *one) for one in instructions)
        self._code = ctypes.create_string_buffer(code, len(code))
        self._places = [
            place * _INSTRUCTION + _VALUE
            for place, (*_, value) in enumerate(instructions)
            if value == _WHOEVER
        ]
        header = struct.pack("@HP", len(instructions), ctypes.addressof(self._code))
        self._number = number
        self._arguments = (
            ctypes.c_long(_SET_FILTER), ctypes.c_long(_KEEP_SPEED), ctypes.c_char_p(header)
        )  # fmt: skip

    def install(self) -> None:
        """From now on this process and its children may not reach into others.

        Raises:
            OSError: the kernel refuses.
        """
        for place in self._places:
            struct.pack_into("=I", self._code, place, os.getpid())
        birth.system_call(self._number, *self._arguments)


def threads_of(pid: int) -> list[int]:
    """The threads of a process, its first one first; that one alone where they cannot be read."""
    found = [pid]
    with suppress(OSError):
        found += [tid for tid in map(int, os.listdir(f"/proc/{pid}/task")) if tid != pid]
    return found


def program(architectures: Sequence[Architecture], others: Others, own: int | None) -> Block:
    """The filter; a call by a convention that is none of these is not looked at."""
    found = [_load(_ARCHITECTURE)]
    for architecture in architectures:
        found += _when(architecture.name, _calls(architecture, others, own))
    return [*found, _answer(_ALLOW)]


def _calls(by: Architecture, others: Others, own: int | None) -> Block:
    found = [_load(_NUMBER)]
    if own is None:
        found += _whatever_numbers(by)
    found += _when(by.prlimit64, _limits(others, own))
    for number in by.scheduling:
        found += _when(number, [_argument(0), *_unless(others.threads)])
    found += _when(by.setpriority, _priority(others, _PROCESS))
    found += _when(by.ioprio_set, _priority(others, _PROCESS + 1))
    found += _when(by.setpgid, [_argument(1), *_unless(others.groups)])
    return [*found, _answer(_ALLOW)]


def _whatever_numbers(by: Architecture) -> Block:
    """What is refused whoever is meant: by the first filter, for good."""
    found: Block = [(_AT_LEAST, 0, 1, _X32), _answer(_ABSENT)] if by is _X86_64 else []
    for number in by.reaching:
        found += _when(number, [_answer(_REFUSE)])
    return found + _when(by.ioctl, [_argument(1), *_unless(_TYPE_INTO_TERMINAL)])


def _limits(others: Others, own: int | None) -> Block:
    """Limits may be read of anybody, and be set of the caller."""
    reads = [
        _argument(2), (_EQUAL, 0, 3, 0), _argument(2, upper=True), (_EQUAL, 0, 1, 0),
        _answer(_ALLOW),
    ]  # fmt: skip
    if own is None:
        return [*reads, _argument(0), *_unless(others.threads)]
    mine = [*_when(0, [_answer(_ALLOW)]), *_when(own, [_answer(_ALLOW)])]
    return [*reads, _argument(0), *mine, _answer(_REFUSE)]


def _priority(others: Others, process: int) -> Block:
    """Nobody's who is named, and not that of all processes of a user, which names everybody."""
    group, user = process + _GROUP, process + _USER
    return [
        _argument(0),
        *_when(user, [_answer(_REFUSE)]),
        *_when(group, [_argument(1), *_unless(others.groups)]),
        _argument(1),
        *_unless(others.threads),
    ]


def _when(value: int, then: Block) -> Block:
    """Where what was loaded is this, do that, which answers; else go on behind it."""
    return [(_EQUAL, 1, 0, value), (_SKIP, 0, 0, len(then)), *then]


def _unless(values: Collection[int]) -> Block:
    """Allow, unless what was loaded is one of these."""
    refused = sorted(values)[:_MOST_STRANGERS]
    tests = [(_EQUAL, len(refused) - place, 0, value) for place, value in enumerate(refused)]
    return [*tests, _answer(_ALLOW), _answer(_REFUSE)]


def _load(offset: int) -> tuple[int, int, int, int]:
    return (_LOAD, 0, 0, offset)


def _argument(place: int, *, upper: bool = False) -> tuple[int, int, int, int]:
    """Half an argument: numbers of processes are no longer."""
    return _load(16 + 8 * place + 4 * upper)


def _answer(value: int) -> tuple[int, int, int, int]:
    return (_ANSWER, 0, 0, value)
