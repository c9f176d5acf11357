"""The file by which a supervisor tells of a store that it cannot use."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from portico.supervisor.trouble import Notice, Trouble, troubles

URL = "redis://:canary@host:6379/0?timeout=2"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "elsewhere"))
    return tmp_path / f"portico-{os.geteuid()}"


def test_what_is_told_is_found_by_the_store_and_gone_when_it_is_taken_back(folder: Path) -> None:
    notice = Notice(URL)
    notice.put(seconds=60.0, said="it is away", waiting=2)
    [found] = troubles("redis://:canary@host:6379/0?namespace=default")
    assert (found.pid, found.said, found.results_waiting) == (
        os.getpid(),
        "it is away",
        2,
    )
    assert abs(time.time() - 60 - found.since) < 5
    assert troubles("redis://host:6379/1") == []
    notice.clear()
    assert troubles(URL) == []
    assert list(folder.iterdir()) == []
    notice.clear()


def test_the_beginning_stays_while_the_count_changes() -> None:
    notice = Notice(URL)
    notice.put(seconds=60.0, said="full", waiting=2)
    [first] = troubles(URL)
    notice.put(seconds=0.0, said="full", waiting=9)
    [second] = troubles(URL)
    assert (second.since, second.results_waiting) == (first.since, 9)
    assert "9 results of what has ended cannot be stored yet" in str(second)
    notice.put(seconds=0.0, said="full", waiting=1)
    assert "1 result of what" in str(troubles(URL)[0])


@pytest.mark.security("S14")
def test_the_file_is_its_users_alone_and_holds_no_password(folder: Path) -> None:
    Notice(URL).put(seconds=0.0, said="away", waiting=0)
    [path] = folder.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b"canary" not in path.read_bytes()


@pytest.mark.security("S14")
def test_a_folder_that_others_may_write_to_is_neither_written_nor_read(folder: Path) -> None:
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    Notice(URL).put(seconds=0.0, said="away", waiting=0)
    assert list(folder.iterdir()) == []
    (folder / "1.trouble.json").write_text("{}")
    assert troubles(URL) == []


def test_what_a_dead_process_has_left_is_passed_over(folder: Path) -> None:
    code = (
        "from portico.supervisor.trouble import Notice\n"
        f"Notice({URL!r}).put(seconds=0.0, said='away', waiting=0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert len(list(folder.iterdir())) == 1
    assert troubles(URL) == []


@pytest.mark.parametrize(
    "written", [b"", b"{", b"[]", b"\xff", b'{"store": 1}', b"x" * 100_000, b'{"a":' + b"[" * 5000]
)
def test_a_file_that_is_not_understood_is_passed_over(folder: Path, written: bytes) -> None:
    Notice(URL).put(seconds=0.0, said="away", waiting=0)
    (folder / "1.trouble.json").write_bytes(written)
    (folder / "2.trouble.json").symlink_to("/no/such/file")
    assert [one.said for one in troubles(URL)] == ["away"]


@pytest.mark.parametrize("since", [1e300, -1e300, 2.0**60])
def test_what_is_told_of_an_instant_that_no_clock_shows_is_passed_over(
    folder: Path, since: float
) -> None:
    Notice(URL).put(seconds=0.0, said="away", waiting=0)
    [path] = folder.iterdir()
    said = json.loads(path.read_text())
    (folder / "1.trouble.json").write_text(json.dumps({**said, "since": since}))
    assert len([str(one) for one in troubles(URL)]) == 1


def test_a_file_queue_is_known_by_its_file_from_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Notice("sqlite:///jobs.db?durability=normal").put(seconds=0.0, said="full", waiting=0)
    monkeypatch.chdir("/")
    assert troubles(f"sqlite:///{tmp_path}/jobs.db")
    assert troubles("sqlite:///jobs.db") == []


def test_a_folder_that_cannot_be_made_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/no/such/place")
    notice = Notice(URL)
    notice.put(seconds=0.0, said="away", waiting=0)
    notice.clear()
    assert troubles(URL) == []


def test_it_says_what_goes_on_and_what_does_not() -> None:
    told = str(Trouble("redis://host", 7, 0.0, time.time() - 90, "away", 1200))
    assert told.startswith("supervisor 7 leases nothing since ")
    assert "(90 s): away; jobs that run go on, and 1,200 results" in told
