"""The filter, run as the kernel runs it, for each architecture: only one of them is at hand."""

from __future__ import annotations

import errno
from typing import NamedTuple

import pytest

from portico.supervisor.sandbox import seccomp
from portico.supervisor.sandbox.seccomp import Architecture, Others, program

ALLOWED, REFUSED, ABSENT = 0x7FFF0000, 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
MACHINES = {name: known for name, (_, known) in seccomp._MACHINES.items()}
EACH = pytest.mark.parametrize(
    ("machine", "by"),
    [(machine, by) for machine, known in MACHINES.items() for by in known],
    ids=lambda value: value if isinstance(value, str) else hex(value.name),
)
SUPERVISOR, THREAD, ZYGOTE, OWN, CHILD = 100, 101, 102, 103, 104
OTHERS = Others({SUPERVISOR, THREAD, ZYGOTE}, {99, ZYGOTE})
POINTER = 0x7F00_0000_0000


class Ran(NamedTuple):
    answer: int
    looked_at_arguments: bool


def run(filter_: seccomp.Block, by: int, number: int, *arguments: int) -> Ran:
    """What a classic BPF program says of a call."""
    words = {0: number, 4: by}
    for place, value in enumerate((*arguments, *[0] * (6 - len(arguments)))):
        words[16 + 8 * place] = value & 0xFFFFFFFF
        words[20 + 8 * place] = value >> 32
    at, loaded, looked = 0, 0, False
    while True:
        operation, hit, miss, value = filter_[at]
        at += 1
        match operation:
            case 0x20:  # load a word
                loaded, looked = words[value], looked or value >= 16
            case 0x15:  # jump if equal
                at += hit if loaded == value else miss
            case 0x35:  # jump if greater or equal
                at += hit if loaded >= value else miss
            case 0x05:  # jump
                at += value
            case 0x06:  # return
                return Ran(value, looked)
            case _:
                raise AssertionError(operation)


def first(machine: str) -> seccomp.Block:
    return program(MACHINES[machine], OTHERS, None)


def second(machine: str) -> seccomp.Block:
    return program(MACHINES[machine], OTHERS, OWN)


def answers(machine: str, by: Architecture, number: int, *arguments: int) -> set[int]:
    """Of both filters, of which the stricter one counts."""
    found = {
        run(one, by.name, number, *arguments).answer for one in (first(machine), second(machine))
    }
    return found - {ALLOWED} or {ALLOWED}


@EACH
def test_what_reaches_into_others_is_refused_whatever_it_is_given(
    machine: str, by: Architecture
) -> None:
    for number in by.reaching:
        assert answers(machine, by, number, 1, OWN) == {REFUSED}
    for request in (0x5412, 0x541C):
        assert answers(machine, by, by.ioctl, 0, request) == {REFUSED}
    assert answers(machine, by, by.ioctl, 0, 0x5413) == {ALLOWED}


@EACH
def test_limits_are_read_of_anybody_and_set_of_the_caller_alone(
    machine: str, by: Architecture
) -> None:
    for pid in (0, OWN, SUPERVISOR, CHILD):
        assert answers(machine, by, by.prlimit64, pid, 7, 0, POINTER) == {ALLOWED}
    for pid in (0, OWN):
        assert answers(machine, by, by.prlimit64, pid, 7, POINTER, 0) == {ALLOWED}
    for new in (POINTER, 0x1000):
        for pid in (SUPERVISOR, THREAD, ZYGOTE, CHILD, 2**32 - 1):
            assert answers(machine, by, by.prlimit64, pid, 7, new, 0) == {REFUSED}


@EACH
def test_priority_and_processors_are_set_of_anybody_but_those_above(
    machine: str, by: Architecture
) -> None:
    calls = [(number, ()) for number in by.scheduling]
    calls += [(by.setpriority, (0,)), (by.ioprio_set, (1,))]
    for number, before in calls:
        for pid in (SUPERVISOR, THREAD, ZYGOTE):
            assert answers(machine, by, number, *before, pid) == {REFUSED}
        for pid in (0, OWN, CHILD):
            assert answers(machine, by, number, *before, pid) == {ALLOWED}
    for number, group, user in ((by.setpriority, 1, 2), (by.ioprio_set, 2, 3)):
        assert answers(machine, by, number, group, 99) == {REFUSED}
        assert answers(machine, by, number, group, OWN) == {ALLOWED}
        assert answers(machine, by, number, group, 0) == {ALLOWED}
        assert answers(machine, by, number, user, 0) == {REFUSED}


@EACH
def test_nobody_joins_the_group_of_those_above(machine: str, by: Architecture) -> None:
    for group in OTHERS.groups:
        assert answers(machine, by, by.setpgid, 0, group) == {REFUSED}
    for group in (0, OWN, CHILD):
        assert answers(machine, by, by.setpgid, 0, group) == {ALLOWED}


@EACH
def test_all_other_calls_are_allowed_without_a_look_at_what_they_are_given(
    machine: str, by: Architecture
) -> None:
    """The kernel asks no filter about such a call then, so it costs nothing."""
    looked_at = {
        by.prlimit64, *by.scheduling, by.setpriority, by.ioprio_set, by.setpgid, by.ioctl,
    }  # fmt: skip
    for number in {*range(500)} - looked_at - {*by.reaching}:
        for one in (first(machine), second(machine)):
            assert run(one, by.name, number) == (ALLOWED, False)


def test_calls_of_x32_are_not_there_and_other_machines_not_looked_at() -> None:
    x86_64 = MACHINES["x86_64"][0]
    assert run(first("x86_64"), x86_64.name, 0x40000000 | 101).answer == ABSENT
    assert run(first("aarch64"), x86_64.name, 101).answer == ALLOWED


def test_a_crowd_of_threads_makes_no_filter_that_the_kernel_would_not_take() -> None:
    crowd = Others(frozenset(range(1000, 3000)), frozenset({99}))
    for own in (None, OWN):
        found = program(MACHINES["x86_64"], crowd, own)
        assert len(found) <= 4096
        assert max(max(hit, miss) for _, hit, miss, _ in found) < 256
