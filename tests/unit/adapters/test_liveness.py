from __future__ import annotations

import os
import subprocess
import sys

from portico.adapters.job_queue._liveness import Sightings, gone, this_process

LEASE = 60.0


def test_this_process_lives() -> None:
    assert not gone(this_process())


def test_a_process_of_another_boot_is_gone() -> None:
    assert gone(this_process()._replace(boot="another"))


def test_a_later_process_with_the_same_number_is_another() -> None:
    assert gone(this_process()._replace(started="1"))


def test_a_number_that_nobody_has_is_gone() -> None:
    assert gone(this_process()._replace(pid=2**22 + 1))


def test_a_process_of_another_namespace_cannot_be_told_from_here() -> None:
    assert not gone(this_process()._replace(namespace="pid:[1]", pid=2**22 + 1))


def test_a_process_that_was_killed_is_gone_before_its_parent_has_noticed() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    other = this_process()._replace(pid=child.pid, started=_start_of(child.pid))
    assert not gone(other)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert gone(other)
    child.wait()


def _start_of(pid: int) -> str:
    with open(f"/proc/{pid}/stat", encoding="utf-8") as status:
        return status.read().rpartition(")")[2].split()[19]


def test_an_owner_is_overdue_when_its_counter_stood_still_for_a_lease_length() -> None:
    seen = Sightings()
    assert seen.overdue(1, 5, LEASE, 0) is None
    assert seen.overdue(1, 5, LEASE, 59) is None
    assert seen.overdue(1, 5, LEASE, 60) == 5


def test_of_an_owner_that_goes_on_only_what_it_skipped_is_overdue() -> None:
    seen = Sightings()
    overdue = [seen.overdue(1, beat, LEASE, beat * 15.0) for beat in range(8)]
    assert overdue == [None, None, None, None, 0, 1, 2, 3]


def test_an_owner_that_is_seen_seldom_is_judged_by_what_was_seen() -> None:
    seen = Sightings()
    assert seen.overdue(1, 5, LEASE, 0) is None
    assert seen.overdue(1, 9, LEASE, 1000) == 5
    assert seen.overdue(1, 9, LEASE, 1059) == 5
    assert seen.overdue(1, 9, LEASE, 1060) == 9


def test_forgotten_sightings_give_everybody_a_whole_lease_length() -> None:
    seen = Sightings()
    seen.overdue(1, 5, LEASE, 0)
    seen.overdue(2, 5, LEASE, 0)
    seen.keep({2})
    assert seen.overdue(1, 5, LEASE, 100) is None
    assert seen.overdue(2, 5, LEASE, 100) == 5
    seen.clear()
    assert seen.overdue(2, 5, LEASE, 200) is None
