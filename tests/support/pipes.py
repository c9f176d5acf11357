"""Pipes as the system sees them: who holds which end, full ones, small ones."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.surroundings import as_nobody


def flags_of(pid: int, fd: int | str) -> int:
    text = Path(f"/proc/{pid}/fdinfo/{fd}").read_text()
    return int(text.split("flags:")[1].split()[0], 8)


def pipe_ends(pid: int) -> set[tuple[str, int]]:
    """The pipes that a process shares with others, each with the way it has it open."""
    found: set[tuple[str, int]] = set()
    for number in os.listdir(f"/proc/{pid}/fd"):
        try:
            name = os.readlink(f"/proc/{pid}/fd/{number}")
            flags = flags_of(pid, number)
        except FileNotFoundError:
            continue
        if name.startswith("pipe:"):
            found.add((name, flags & os.O_ACCMODE))
    mine = {(name, 1 - mode) for name, mode in found}  # a loop's own, to wake itself
    return found - mine


def fill(fd: int) -> None:
    try:
        while True:
            os.write(fd, b"\n")
    except BlockingIOError:
        pass


def drain(fd: int) -> bytes:
    data = b""
    try:
        while True:
            data += os.read(fd, 65536)
    except BlockingIOError:
        return data


TAKES_THE_PIPES = """
import fcntl, os, sys
pipes = []
try:
    while True:
        pipes.append(os.pipe())
        fcntl.fcntl(pipes[-1][1], fcntl.F_SETPIPE_SZ, 1024 * 1024)
except OSError as error:
    print(type(error).__name__, flush=True)
sys.stdin.read()
"""


@contextmanager
def no_large_pipes() -> Iterator[None]:
    """Within this block, a user like that of `as_nobody` gets no larger pipes, and the smallest."""
    command = [*as_nobody(), sys.executable, "-c", TAKES_THE_PIPES]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"PermissionError\n"
        yield
        holder.kill()
