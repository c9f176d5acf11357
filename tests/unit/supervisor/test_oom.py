"""Suspecting the kernel of having killed a worker for memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from portico.supervisor.oom import OomCounter, counter_file, kills_in


def events(kills: int) -> str:
    return f"low 0\nhigh 0\nmax 7\noom 3\noom_kill {kills}\noom_group_kill 0\n"


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "kills"),
    [(events(2), 2), (events(0), 0), ("", None), ("oom 3", None), ("oom_kill many", None)],
)
def test_the_count_is_that_of_kills_and_not_of_alarms(text: str, kills: int | None) -> None:
    assert kills_in(text) == kills


def test_only_a_count_that_has_grown_makes_the_kernel_a_suspect(tmp_path: Path) -> None:
    file = written(tmp_path / "memory.events", events(5))
    counter = OomCounter(file, clock=lambda: 0.0)
    assert not counter.suspected()
    file.write_text(events(6))
    assert counter.suspected()


def test_all_deaths_of_a_group_are_suspect_and_a_later_one_is_not(tmp_path: Path) -> None:
    now = 0.0
    file = written(tmp_path / "memory.events", events(0))
    counter = OomCounter(file, clock=lambda: now)
    file.write_text(events(8))
    assert [counter.suspected() for _ in range(8)] == [True] * 8
    now = 5.0
    assert not counter.suspected()


def test_nothing_is_suspected_where_nothing_counts_or_the_file_goes_away(tmp_path: Path) -> None:
    assert not OomCounter(None).suspected()
    file = written(tmp_path / "memory.events", events(1))
    counter = OomCounter(file)
    file.unlink()
    assert not counter.suspected()
    written(file, events(1))
    assert not counter.suspected()


@pytest.mark.parametrize(
    ("membership", "place"),
    [
        ("0::/kubepods/pod1/abc", "kubepods/pod1/abc/memory.events"),
        ("0::/", "memory.events"),
        ("0::/docker/seen-from-outside", "memory.events"),
        ("4:cpu,cpuacct:/x\n9:memory:/docker/abc", "memory/docker/abc/memory.oom_control"),
        ("9:memory:/docker/seen-from-outside", "memory/memory.oom_control"),
    ],
)
def test_the_counter_of_the_own_control_group_is_found(
    membership: str, place: str, tmp_path: Path
) -> None:
    written(tmp_path / "proc/self/cgroup", membership)
    file = written(tmp_path / "cgroup" / place, events(0))
    assert counter_file(tmp_path / "proc", tmp_path / "cgroup") == file


def test_without_a_counting_group_the_machine_counts(tmp_path: Path) -> None:
    written(tmp_path / "proc/self/cgroup", "0::/\n7:cpu:/a")
    file = written(tmp_path / "proc/vmstat", "nr_free_pages 1\noom_kill 3\n")
    assert counter_file(tmp_path / "proc", tmp_path / "cgroup") == file
    assert counter_file(tmp_path / "elsewhere", tmp_path) is None
