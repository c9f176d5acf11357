"""Fixtures for the tests of an application or an adapter; its `conftest.py` asks for them:

    pytest_plugins = ["portico.testing.fixtures"]

They are not an entry point of pytest's, which would load them, and have pytest rewrite the asserts
of all of Portico, in every test run of everybody who has Portico installed. None of them is a
coroutine: they work with any plugin for asynchronous tests, and with none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from portico.compose import job_service as service_on
from portico.kits.job import JobService
from portico.ports.job_queue import JobQueueAdapter
from portico.testing.clock import FakeClock
from portico.testing.queues import memory_queue

if TYPE_CHECKING:
    from portico.testing.contract import Clocks


@pytest.fixture
def job_clock() -> FakeClock:
    """The clock of `job_queue`; it stands still until the test advances it."""
    return FakeClock()


@pytest.fixture
def job_queue(job_clock: FakeClock) -> JobQueueAdapter:
    """An empty queue in memory."""
    return memory_queue(job_clock)


@pytest.fixture
def job_service(job_queue: JobQueueAdapter) -> JobService:
    """What creates jobs in `job_queue`."""
    return service_on(job_queue)


@pytest.fixture
def clocks() -> Clocks:
    """The clocks that the rules of `portico.testing.contract` turn; the adapter is given them."""
    from portico.testing.contract import Clocks

    return Clocks()
