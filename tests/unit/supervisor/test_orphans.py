"""Children of this process that nobody here has started, with real processes."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from portico.supervisor import orphans, proc_stat, scales
from portico.supervisor.orphans import Orphans, children
from portico.supervisor.trackers import is_tracker
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers")


@contextmanager
def child(*, own_session: bool = True) -> Iterator[subprocess.Popen[bytes]]:
    """What an adopted process looks like: a child, in a session of its own."""
    process = subprocess.Popen(["/bin/sleep", "62"], start_new_session=own_session)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


class Lines:
    def __init__(self) -> None:
        self.pids: list[int] = []

    def warning(self, event: str, *, pid: int, **_: object) -> None:
        assert event == "orphan_adopted"
        self.pids.append(pid)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Lines:
    found = Lines()
    monkeypatch.setattr(orphans, "logger", found)
    monkeypatch.setattr(orphans, "reap", lambda _: [])  # of children that other tests wait for
    return found


def test_an_orphan_is_logged_once_and_left_alone(lines: Lines) -> None:
    found = Orphans()
    with child() as orphan:
        assert found.sweep(()) == [orphan.pid]
        assert found.sweep(()) == [orphan.pid]
        assert lines.pids == [orphan.pid]
        assert orphan.poll() is None


def test_one_that_has_begun_to_end_is_no_orphan(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no command any more, by which a tracker is known."""
    found = Orphans()
    with child() as orphan:
        fields = proc_stat.fields(orphan.pid)
        fields[proc_stat.FLAGS] = str(int(fields[proc_stat.FLAGS]) | proc_stat.EXITING)
        with monkeypatch.context() as patch:
            patch.setattr(proc_stat, "fields", lambda _: fields)
            assert found.sweep(()) == []
        assert found.sweep(()) == [orphan.pid]


async def test_an_orphan_is_killed_on_request_and_not_spoken_of_again(lines: Lines) -> None:
    found = Orphans(kill=True)
    with child() as orphan:
        assert found.sweep(()) == [orphan.pid]
        await wait_until(lambda: orphan.poll() is not None)
        assert found.sweep(()) == []
        assert lines.pids == [orphan.pid]


def test_ours_and_what_was_there_before_are_not_touched(lines: Lines) -> None:
    with child() as before:
        found = Orphans(kill=True)
        with child() as worker:
            assert {before.pid, worker.pid} <= set(children())
            assert found.sweep({worker.pid}) == []
            assert before.poll() is worker.poll() is None
    assert not lines.pids


def test_a_worker_whose_number_is_not_known_yet_is_no_orphan(lines: Lines) -> None:
    """It is in our session; what left that was never to be a worker."""
    found = Orphans(kill=True)
    with child(own_session=False) as worker, child() as orphan:
        assert found.sweep((), starting=True) == [orphan.pid]
        assert worker.poll() is None
        assert found.sweep({worker.pid}) in ([], [orphan.pid])
    assert lines.pids == [orphan.pid]


@contextmanager
def out_of_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_without_descriptors_nobody_is_found_and_the_next_sweep_finds_them(lines: Lines) -> None:
    found = Orphans()
    with child() as orphan:
        with out_of_descriptors():
            assert found.sweep(()) == []
        assert found.sweep(()) == [orphan.pid]
        assert lines.pids == [orphan.pid]


def test_without_descriptors_nothing_is_weighed_and_nothing_breaks() -> None:
    weigher = scales.Scales(machine=True, workers=True)
    with out_of_descriptors():
        assert weigher.weigh({1: os.getpid()}, 0.0) == ({}, None)
    sizes, available = weigher.weigh({1: os.getpid()}, 1.0)
    assert sizes[1] > 0
    assert available


async def test_a_tracker_has_some_sweeps_to_end_by_itself(lines: Lines) -> None:
    found = Orphans(kill=True)
    program = "import time; 'multiprocessing.resource_tracker import main'; time.sleep(62)"
    tracker = subprocess.Popen([sys.executable, "-c", program], start_new_session=True)
    try:
        await wait_until(lambda: is_tracker(tracker.pid))
        assert [found.sweep(()) for _ in range(6)] == [[]] * 5 + [[tracker.pid]]
        assert lines.pids == [tracker.pid]
        assert tracker.wait() == -9
    finally:
        tracker.kill()
