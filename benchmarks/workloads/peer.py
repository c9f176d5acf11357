"""The same items by the fastest of the systems that `peers` compares: PgQueuer."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.peers import catalogue, meter
from benchmarks.peers.environment import python_of
from benchmarks.peers.failure import PeerFailedError, last_line
from benchmarks.peers.run import APPS, stop
from benchmarks.peers.stores import Stores
from benchmarks.watch import OnDone, nobody

if TYPE_CHECKING:
    from benchmarks.workloads.work import Item

(PEER,) = catalogue.named(["pgqueuer"])
_ROOT = Path(__file__).parents[2]
_READY, _DONE = 60.0, 600.0


class Fastest:
    """PgQueuer in an environment of its own, which is made when it is not there yet.

    Raises:
        PeerFailedError: it cannot be installed.
    """

    name = PEER.name

    def __init__(self, cache: Path) -> None:
        self._python = python_of(PEER, cache)
        self._stores = Stores({}, cache)

    def close(self) -> None:
        """Stop its server."""
        self._stores.close()

    def run(self, workers: int, items: Sequence[Item], on_done: OnDone = nobody) -> float:
        """Seconds from when the items are given to it, with its processes ready, to the last one.

        Raises:
            PeerFailedError: they were not all done.
            NoServerError: there is no PostgreSQL.
        """
        with self._stores.place(PEER.store) as url, meter.Meter() as counted:
            places = (APPS, _ROOT, sysconfig.get_path("purelib"))
            environment = {
                **os.environ, **meter.at(counted.path), "BENCH_URL": url,
                "PYTHONPATH": os.pathsep.join(map(str, places)),
            }  # fmt: skip
            self._ask(environment, "install")
            with self._serving(environment, workers) as alive:
                _await(counted.read, workers, _READY, alive)
                words = json.dumps([[item.job_type, item.payload] for item in items])
                began = float(self._ask(environment, "enqueue", said=words))
                _await(
                    counted.read, workers + len(items), _DONE, alive,
                    lambda done: on_done(max(0, done - workers)),
                )  # fmt: skip
                return time.monotonic() - began

    def _command(self, *words: object) -> list[str]:
        return [str(self._python), str(APPS / "pgqueuer_work_app.py"), *map(str, words)]

    def _ask(self, environment: dict[str, str], verb: str, said: str = "") -> str:
        done = subprocess.run(  # noqa: S603 - an app of ours
            self._command(verb), env=environment, input=said, cwd=APPS, check=False,
            capture_output=True, text=True, timeout=_READY,
        )  # fmt: skip
        if done.returncode:
            raise PeerFailedError(f"{verb}: {last_line(done.stderr)}", done.stderr)
        return done.stdout

    @contextmanager
    def _serving(self, environment: dict[str, str], workers: int) -> Iterator[Callable[[], bool]]:
        process = subprocess.Popen(  # noqa: S603 - an app of ours
            self._command("serve", workers), env=environment, cwd=APPS, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            yield lambda: process.poll() is None
        finally:
            stop(process)


def _await(
    read: Callable[[], int],
    wanted: int,
    seconds: float,
    alive: Callable[[], bool],
    on_done: OnDone = nobody,
) -> None:
    deadline = time.monotonic() + seconds
    while (done := read()) < wanted:
        on_done(done)
        if not alive() or time.monotonic() > deadline:
            raise PeerFailedError(f"{PEER.name}: {done} of {wanted} done within {seconds:g} s")
        time.sleep(meter.STEP)  # noqa: TID251 - the counters are memory, nothing tells of them
    on_done(done)
