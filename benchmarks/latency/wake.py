"""What waking a process costs by itself: a byte to another one that sleeps, and back.

A job that comes to an idle pool wakes several: the store, the supervisor, a worker, and threads of
them. On a machine whose processors have gone to sleep, that is most of what it waits for.
"""

from __future__ import annotations

import socket
import time
from multiprocessing import get_context
from random import Random

from benchmarks.latency.run import Pace


def round_trips(pace: Pace) -> list[float]:
    """Seconds of each round trip, at the same intervals as jobs come."""
    random = Random(pace.seed)  # noqa: S311 - no secret
    ours, theirs = socket.socketpair()
    echo = get_context("spawn").Process(target=_echo, args=(theirs,), daemon=True)
    with ours:
        with theirs:
            echo.start()
        _round_trip(ours)  # it has started
        took = []
        for _ in range(pace.jobs):
            time.sleep(pace.interval * random.uniform(0.5, 1.5))  # noqa: TID251
            took.append(_round_trip(ours))
    echo.join()
    return took


def _round_trip(end: socket.socket) -> float:
    began = time.perf_counter()
    end.send(b"?")
    end.recv(1)
    return time.perf_counter() - began


def _echo(end: socket.socket) -> None:
    while said := end.recv(1):
        end.send(said)
