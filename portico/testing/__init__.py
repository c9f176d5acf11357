"""For the tests of applications and of adapters; nothing else in Portico imports it.

Of an application: `assert_enqueued`, `perform` and `drain`, a `FakeClock`, and the fixtures of
`portico.testing.fixtures`. Of an adapter: the rules in `portico.testing.contract`.

pytest is needed by `contract` and `fixtures` only: `pip install portico-jobs[testing]` brings it.
"""

from __future__ import annotations

from portico.testing.assertions import all_enqueued, assert_enqueued, refute_enqueued
from portico.testing.clock import FakeClock
from portico.testing.inline import Attempt, Drained, drain, perform
from portico.testing.jobs import make_job
from portico.testing.queues import memory_queue

__all__ = [
    "Attempt",
    "Drained",
    "FakeClock",
    "all_enqueued",
    "assert_enqueued",
    "drain",
    "make_job",
    "memory_queue",
    "perform",
    "refute_enqueued",
]
