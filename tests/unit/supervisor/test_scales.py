"""What the descendants of a process hold of their own, with real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest

from portico.supervisor import families
from portico.supervisor.scales import Scales, held_by_family

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

MIB = 1 << 20
FAMILY = """
import mmap, os, subprocess, sys

def told_when_full(size, shared=False):
    kept = mmap.mmap(-1, size, mmap.MAP_SHARED if shared else mmap.MAP_PRIVATE)
    kept.write(b"x" * size)
    print("full", flush=True)
    return kept
"""


@contextmanager
def family(code: str, full: int) -> Iterator[int]:
    """A process that runs this code until its input is closed, once `full` of it are told."""
    program = f"{FAMILY}\n{code}\nsys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        for _ in range(full):
            assert process.stdout.readline() == b"full\n"
        yield process.pid


STARTED = "child = subprocess.Popen([sys.executable, '-c', {0!r}], stdin=0)"


@pytest.mark.parametrize(
    ("code", "full", "expected"),
    [
        ("kept = told_when_full(100 << 20)", 1, 0),
        (STARTED.format(f"{FAMILY}\nkept = told_when_full(100 << 20)\nsys.stdin.read()"), 1, 100),
        (
            "kept = told_when_full(100 << 20)\nfor _ in range(3): os.fork() or sys.stdin.read()",
            1,
            0,
        ),
        ("os.fork() or [told_when_full(50 << 20), sys.stdin.read()]", 1, 50),
        ("os.fork() or [os.fork() or told_when_full(50 << 20), sys.stdin.read()]", 1, 50),
        ("os.fork() or [told_when_full(50 << 20, shared=True), sys.stdin.read()]", 1, 0),
    ],
    ids=["own", "started", "copies", "a copy that grows", "a grandchild", "shared memory"],
)
def test_what_a_family_holds_is_what_is_not_its_elders(code: str, full: int, expected: int) -> None:
    with family(code, full) as pid:
        held = held_by_family(pid) / MIB
        assert expected - 1 < held < expected + 25  # a kernel counts a process' pages now and then
        assert Scales(machine=False, workers=True).families({1: pid}) == {}


def test_nobody_and_one_that_is_gone_hold_nothing() -> None:
    assert held_by_family(2**22 + 1) == 0


def test_of_thousands_of_threads_no_more_than_a_few_hundred_are_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each takes as long as all else that is read of a process."""
    asked: list[Path] = []
    read = Path.read_text
    monkeypatch.setattr(
        Path, "read_text", lambda path, **options: asked.append(path) or read(path, **options)
    )
    done = Event()
    threads = [Thread(target=done.wait) for _ in range(families._MOST_THREADS + 50)]
    for thread in threads:
        thread.start()
    list(families.children_of(os.getpid()))
    held_by_family(os.getpid())
    done.set()
    for thread in threads:
        thread.join()
    ours = Path(f"/proc/{os.getpid()}")  # other tests may have left children, which have threads
    children = [path for path in asked if path.name == "children" and ours in path.parents]
    assert len(children) == 2 * families._MOST_THREADS
