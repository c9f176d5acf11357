"""The pid file is a lock: what a number says that was left behind is of no account."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from portico.exceptions import ConfigurationError
from portico.supervisor.pid_file import pid_file

OTHER = f"{os.getppid()}\n"
LEFT_BEHIND = {
    "its own number": f"{os.getpid()}\n",
    "number 1": "1\n",
    "the number of another process": OTHER,
    "no number": "nobody\n",
    "nothing": "",
    "a number too large for any": "9" * 40,
    "what a crashed file system leaves": "\0" * 8,
    "bytes that are no text": "\udcff\udcfe",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "portico.pid"


def refused(path: Path) -> str:
    with pytest.raises(ConfigurationError) as caught, pid_file(str(path)):
        pytest.fail("it was taken")
    return str(caught.value)


@pytest.mark.parametrize("text", LEFT_BEHIND.values(), ids=LEFT_BEHIND)
def test_what_was_left_behind_keeps_nobody_out(path: Path, text: str) -> None:
    path.write_bytes(os.fsencode(text))
    with pid_file(str(path)):
        assert path.read_text() == f"{os.getpid()}\n"
    assert not path.exists()


@pytest.fixture
def as_somebody() -> Iterator[Path]:
    """A folder of a user who is not root, as whom the test runs."""
    with TemporaryDirectory() as folder:
        if os.geteuid() == 0:
            os.chown(folder, 4242, 4242)
            os.seteuid(4242)
        yield Path(folder)
        if os.getuid() == 0:
            os.seteuid(0)


@pytest.mark.parametrize("mode", [0o000, 0o444])
def test_its_own_file_that_nobody_may_write_is_taken(as_somebody: Path, mode: int) -> None:
    path = as_somebody / "portico.pid"
    path.write_text(OTHER)
    path.chmod(mode)
    with pid_file(str(path)):
        assert path.read_text() == f"{os.getpid()}\n"
    assert not path.exists()


def test_a_folder_that_may_not_be_written_is_named(as_somebody: Path) -> None:
    as_somebody.chmod(0o500)
    assert "Permission denied" in refused(as_somebody / "portico.pid")


def test_a_living_holder_is_named(path: Path) -> None:
    with pid_file(str(path)):
        assert f"process {os.getpid()} is running" in refused(path)
        path.write_text("")
        assert "another supervisor is running" in refused(path)
    with pid_file(str(path)):
        pass


def test_a_child_has_no_part_in_the_lock(path: Path) -> None:
    with pid_file(str(path)):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        with pid_file(str(path)):
            pass
    finally:
        child.communicate(b"\n")


def test_a_file_that_others_put_in_its_place_is_left_to_them(path: Path) -> None:
    with pid_file(str(path)):
        path.unlink()
        path.write_text(OTHER)
    assert path.read_text() == OTHER


def test_a_holder_that_goes_while_the_file_is_taken_makes_room(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between our opening it and our locking it the old one removes it: that lock is worthless."""
    path.write_text(OTHER)
    lock, removed = fcntl.flock, []

    def flock(fd: int, how: int) -> None:
        if not removed:
            removed.append(path.unlink())
        lock(fd, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with pid_file(str(path)):
        assert path.read_text() == f"{os.getpid()}\n"
        monkeypatch.undo()
        refused(path)


def test_a_lock_on_a_file_that_is_gone_does_not_refuse_anybody(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is held by one who has just removed the file, and is about to let go."""
    path.write_text(OTHER)
    real, tries = fcntl.flock, []

    def flock(fd: int, how: int) -> None:
        tries.append(fd)
        if len(tries) == 1:
            path.unlink()
            raise BlockingIOError(errno.EWOULDBLOCK, "held")
        real(fd, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with pid_file(str(path)):
        assert path.read_text() == f"{os.getpid()}\n"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def flock(fd: int, how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    assert "has no locks" in (said := refused(path))
    assert "/run" in said


def test_a_file_that_is_somebodys_own_is_not_overwritten(path: Path) -> None:
    text = "[tool.portico]\n" * 10
    path.write_text(text)
    assert "a file of 150 bytes, no file with a process id; remove it" in refused(path)
    assert path.read_text() == text


def test_a_directory_is_named_as_one(path: Path) -> None:
    path.mkdir()
    assert "is a directory" in refused(path)


def test_another_name_of_somebodys_file_is_removed_and_the_file_left(path: Path) -> None:
    precious = path.with_name("precious")
    precious.write_text("precious")
    path.hardlink_to(precious)
    with pid_file(str(path)):
        assert path.read_text() == f"{os.getpid()}\n"
    assert precious.read_text() == "precious"


def test_a_folder_that_is_not_there_is_named(path: Path) -> None:
    assert "No such file or directory" in refused(path.with_name("none") / "portico.pid")


def test_where_it_cannot_be_removed_it_names_nobody(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unlink(_: str) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "unlink", unlink)
    with pid_file(str(path)):
        pass
    assert path.read_text() == ""
    with pid_file(str(path)):
        assert path.read_text() == f"{os.getpid()}\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file away")
def test_a_file_of_another_user_is_replaced_and_not_written_to(path: Path) -> None:
    path.write_text(OTHER)
    os.chown(path, 4242, 4242)
    before = path.stat().st_ino
    kept = path.with_name("kept")
    kept.hardlink_to(path)  # else its number may be given to the new one
    with pid_file(str(path)):
        assert path.stat().st_uid == 0
        assert path.stat().st_ino != before
    assert kept.read_text() == OTHER


_RACER = """
import sys
from portico.exceptions import ConfigurationError
from portico.supervisor.pid_file import pid_file
print("ready", flush=True)
for line in sys.stdin:
    try:
        with pid_file(sys.argv[1]):
            print("taken", flush=True)
            sys.stdin.readline()
        print("let go", flush=True)
    except ConfigurationError:
        print("refused", flush=True)
"""


def test_of_two_that_start_at_once_one_is_refused_and_the_next_pair_finds_it_free(
    path: Path,
) -> None:
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", _RACER, str(path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )
        for _ in range(2)
    ]  # fmt: skip

    def told(racer: subprocess.Popen[str]) -> str:
        assert racer.stdout is not None
        return racer.stdout.readline().strip()

    def tell(racer: subprocess.Popen[str]) -> None:
        assert racer.stdin is not None
        racer.stdin.write("\n")

    assert [told(racer) for racer in racers] == ["ready", "ready"]
    for _ in range(100):
        path.write_text(OTHER)
        for racer in racers:
            tell(racer)
        said = [told(racer) for racer in racers]
        assert sorted(said) == ["refused", "taken"]
        holder = racers[said.index("taken")]
        tell(holder)
        assert told(holder) == "let go"
    for racer in racers:
        racer.communicate()
