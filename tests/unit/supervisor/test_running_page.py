from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from portico.supervisor.running_page import MAX_SLOTS, RunningPage


@pytest.fixture
def page() -> Iterator[RunningPage]:
    page = RunningPage.create(4)
    yield page
    page.close()


def test_a_new_page_says_that_nothing_has_been_started(page: RunningPage) -> None:
    assert page.started() == {}


def test_each_slot_tells_what_it_started_last_and_when(page: RunningPage) -> None:
    before = time.monotonic()
    page.begin(0, 7)
    page.begin(1, 8)
    page.begin(0, 9)
    assert set(page.started()) == {9, 8}
    assert all(before <= at <= time.monotonic() for at in page.started().values())


def test_the_last_slot_fits() -> None:
    full = RunningPage.create()
    for slot in range(MAX_SLOTS):
        full.begin(slot, slot + 1)
    assert len(full.started()) == MAX_SLOTS
    full.close()


def test_what_was_written_survives_the_death_of_the_writer(page: RunningPage) -> None:
    child = os.fork()
    if child == 0:
        page.begin(0, 42)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert set(page.started()) == {42}


def test_a_job_is_never_seen_with_the_start_of_the_one_before_it(page: RunningPage) -> None:
    begun = time.monotonic()
    child = os.fork()
    if child == 0:
        serial = 0
        while os.getppid() != 1:
            serial += 1
            page.begin(0, serial)
        os._exit(0)
    try:
        last_serial, last_start = 0, begun
        for _ in range(200_000):
            for serial, start in page.started().items():
                if serial > last_serial:
                    assert start >= last_start
                    last_serial, last_start = serial, start
        assert last_serial > 1000
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
