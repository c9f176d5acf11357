"""Disks that are full, and system calls that fail: real ones, where this machine allows it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from tests.support.waiting import wait_until

_NOBODY = 100_000 + os.getpid() % 100_000
"""A user of this test run alone: what counts against a user's limits is this run's."""


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A disk of this size, mounted in the folder; skips the test where mounting is not allowed."""
    disk = folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
    made = subprocess.run(mount, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {made.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path) -> Path:
    """Write a file that takes all the room there is; remove it to make room again."""
    filler = disk / f"filler-{len(list(disk.glob('filler-*')))}"
    with filler.open("wb", buffering=0) as file:
        for size in (4096, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue
    return filler


@asynccontextmanager
async def failing(pid: int, calls: str, error: str, folder: Path) -> AsyncIterator[None]:
    """Within this block these system calls of a process fail with this error."""
    strace = shutil.which("strace")
    if strace is None:
        assert os.environ.get("CI") != "true", "strace is missing; .ci/run installs it"
        pytest.skip("strace is not installed, and nothing else makes a system call fail")
    inject = f"inject={calls}:error={error}"
    said = folder / "strace"
    with said.open("wb") as output:
        tracer = subprocess.Popen(
            [strace, "-f", "-p", str(pid), "-e", f"trace={calls}", "-e", inject, "-o", "/dev/null"],
            stderr=output,
        )
    try:
        await wait_until(lambda: "attached" in said.read_text() or tracer.poll() is not None)
        if tracer.poll() is not None:
            pytest.skip(f"a process cannot be traced here: {said.read_text()}")
        yield
    finally:
        tracer.terminate()
        tracer.wait(10)


def as_nobody() -> list[str]:
    """What starts a command as a user whose limits count; root has none."""
    if os.getuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed: a command cannot be started as another user")
    caps = "+dac_override"  # to read an interpreter that stands in root's home
    user = [f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"]
    return ["setpriv", *user, f"--inh-caps={caps}", f"--ambient-caps={caps}"]


FULL_PLACES = """
set -e
mount --make-rprivate /
mount --bind /tmp /mnt
mount -t tmpfs -o size=1m tmpfs /tmp
for kept in $KEPT; do
    mkdir -p "$kept"
    mount --bind "/mnt/${kept#/tmp/}" "$kept"
done
mount -t tmpfs -o size=64k tmpfs /dev/shm
for place in /tmp /dev/shm; do
    head -c 2m /dev/zero >"$place/filler" 2>/dev/null || true
done
exec "$@"
"""


def with_full_tmp(*kept: Path) -> list[str]:
    """What starts a command where /tmp and /dev/shm are full, save for these folders."""
    probe = subprocess.run(
        ["unshare", "-m", "sh", "-c", "mount --make-rprivate / && mount --bind /tmp /mnt"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if probe.returncode != 0:
        pytest.skip(f"there is no mounting in a namespace here: {probe.stderr.strip()}")
    inside = [str(path) for path in kept if path.is_relative_to("/tmp")]
    assignment = f"KEPT='{' '.join(inside)}'"
    return ["unshare", "-m", "sh", "-c", f"{assignment}\n{FULL_PLACES}", "sh"]
