"""Freed memory is kept for the next large job, and the operator has the last word."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="tunes glibc's malloc")

FAULTS = """
import resource
from portico.supervisor import allocation
{retain}
def passed_on():
    frame = bytearray(b"x" * 1048576)
    return bytes(frame), bytes(frame)
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    passed_on()
before = faults()
for _ in range(100):
    passed_on()
print(faults() - before)
"""
"""Passes a hundred frames of 1 MiB on, and prints how many pages had to be got for that."""
ENOUGH_FOR_ONE = 1024


def faults(retain: str, **environment: str) -> int:
    command = [sys.executable, "-c", FAULTS.format(retain=retain)]
    kept_out = {name for name in os.environ if name.startswith(("MALLOC_", "GLIBC_"))}
    inherited = {name: value for name, value in os.environ.items() if name not in kept_out}
    run = subprocess.run(
        command, env=inherited | environment, capture_output=True, text=True, check=True
    )
    return int(run.stdout)


def test_large_frames_one_after_the_other_need_the_memory_of_one() -> None:
    assert faults("allocation.retain()") < ENOUGH_FOR_ONE < faults("")


def test_what_the_environment_tells_malloc_stands() -> None:
    own = {"MALLOC_TRIM_THRESHOLD_": "65536"}
    assert faults("allocation.retain()", **own) > ENOUGH_FOR_ONE
