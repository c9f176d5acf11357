"""Proportional memory: each page counts once, shared out among the processes that map it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from benchmarks.supervisors import ROOT, SupervisorProcess

APP = "benchmarks.footprint.app:app"
"""Not imported here: this process would share its pages, and take a part of them on itself."""

_LOOKED_INTO = () if os.geteuid() == 0 else ("--limits", "sandbox=off")
"""Only root may see the memory of what the sandbox keeps apart."""
_SETTLE = 1.0
_PLAIN = "import sys, pandas; print('ready', flush=True); sys.stdin.read()"


class Footprint(NamedTuple):
    """Proportional bytes of one supervisor's processes, and of one that only imports pandas."""

    workers: int
    zygote: int
    supervisor: int
    plain: int


def footprint(workers: int) -> Footprint:
    """Measure the plain process, then the idle pool: one after the other, for they would share."""
    plain = _plain()
    with SupervisorProcess("memory://", APP, workers, *_LOOKED_INTO) as supervisor:
        supervisor.ready()
        time.sleep(_SETTLE)  # noqa: TID251 - until all have done what follows a start
        return Footprint(
            workers=_sum(supervisor.worker_pids()),
            zygote=_sum(supervisor.zygote_pids()),
            supervisor=_sum([supervisor.pid]),
            plain=plain,
        )


def _plain() -> int:
    with subprocess.Popen(  # noqa: S603 - ourselves
        [sys.executable, "-c", _PLAIN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        return proportional(process.pid)


def _sum(pids: Iterable[int]) -> int:
    return sum(map(proportional, pids))


def proportional(pid: int) -> int:
    """The proportional set size of a process, in bytes."""
    return parse(Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii"))


def parse(smaps_rollup: str) -> int:
    """The `Pss` of what Linux says of a process."""
    for line in smaps_rollup.splitlines():
        name, _, value = line.partition(":")
        if name == "Pss":
            return int(value.removesuffix("kB")) * 1024
    raise ValueError("smaps_rollup has no line Pss")
