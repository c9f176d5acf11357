"""Children of this process that nobody here has started, with real processes."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psutil
import pytest

from portico.supervisor import offspring, orphans, proc_stat, scales
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

        self.uncounted = 0

    def warning(self, event: str, *, pid: int = 0, count: int = 0, **_: object) -> None:
        assert event == ("orphans_adopted" if count else "orphan_adopted")
        self.uncounted += count
        self.pids += [pid] if pid else []


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


@pytest.mark.security("S5")
def test_however_many_there_are_a_sweep_looks_at_some_of_them_and_tells_of_fewer(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphans, "_EXAMINED", 5)
    monkeypatch.setattr(orphans, "_TOLD", 2)
    found = Orphans(kill=True)
    with ExitStack() as stack:
        left = {stack.enter_context(child()).pid for _ in range(8)}
        assert len(found.sweep(())) == 5
        assert found.behind
        assert (len(lines.pids), lines.uncounted) == (2, 3)
        assert set(found.sweep(())) == left
        assert (len(lines.pids), lines.uncounted) == (4, 4)


@pytest.mark.security("S5")
def test_a_sweep_collects_a_bounded_number_of_the_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    while orphans.reap(()):  # what other tests have left
        pass
    monkeypatch.setattr(orphans, "_REAPED", 3)
    found, dead = Orphans(), [os.posix_spawn("/bin/true", ["true"], {}) for _ in range(4)]
    for pid in dead:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    found.sweep(())
    assert found.behind
    found.sweep(())
    assert not found.behind


LEAVES_CHILDREN = """
import os, time
for number in range(4):
    if not os.fork():
        if number % 2:
            os.setsid()
        if not os.fork():
            os.write(1, b"ready\\n")  # at once: others write there, too
        time.sleep(60)
time.sleep(60)
"""


def test_what_a_worker_has_started_outside_of_its_group_is_found_and_no_more_than_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun = time.monotonic()
    command = [sys.executable, "-c", LEAVES_CHILDREN]
    with subprocess.Popen(command, stdout=subprocess.PIPE, process_group=0) as worker:
        assert worker.stdout is not None
        assert [worker.stdout.readline() for _ in range(4)] == [b"ready\n"] * 4
        family = psutil.Process(worker.pid).children(recursive=True)
        outside = {one.pid for one in family if os.getpgid(one.pid) != worker.pid}
        found = {one.pid for one in offspring.strays(worker.pid, begun)}
        monkeypatch.setattr(offspring, "_MOST_STRAYS", 1)
        few = offspring.strays(worker.pid, begun)
        monkeypatch.setattr(offspring, "_MOST_FAMILY", 0)
        none = offspring.strays(worker.pid, begun)
        later = offspring.strays(worker.pid, time.monotonic() + 60)
        for one in family:
            one.kill()
        worker.kill()
    assert found == outside
    assert len(found) == 4
    assert len(few) == 1
    assert not none
    assert not later
