from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from portico.supervisor import tray, wire
from portico.supervisor.inbox import Outbox
from portico.supervisor.running_page import RunningPage
from portico.supervisor.tray import Tray


@pytest.fixture
def page() -> Iterator[RunningPage]:
    page = RunningPage.create(1)
    yield page
    page.close()


@pytest.fixture
def ours(page: RunningPage) -> Iterator[Tray]:
    ours = page.tray()
    yield ours
    ours.close()


@pytest.fixture
def theirs(page: RunningPage) -> Iterator[Tray]:
    theirs = page.tray()
    yield theirs
    theirs.close()


def messages(data: bytes) -> list[wire.FromWorker]:
    return list(wire.reader_of_worker().feed(data))


def test_what_was_put_in_survives_the_death_of_the_writer(page: RunningPage, ours: Tray) -> None:
    if (pid := os.fork()) == 0:
        theirs = page.tray()
        theirs.put(wire.end_item(7, b'{"n":1}', 0.5))
        theirs.put(wire.end_item(8, b"{}", 0.25))
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    left = ours.left(0)
    assert left is not None
    ends = [(7, b'{"n":1}', 0.5), (8, b"{}", 0.25)]
    assert messages(wire.batch_frame(left)) == [wire.Batch(1, ends)]


def test_an_empty_tray_holds_nothing(ours: Tray) -> None:
    assert ours.left(0) is None


def test_what_arrived_as_a_frame_is_not_found_again(ours: Tray, theirs: Tray) -> None:
    theirs.put(wire.end_item(1, b"{}", 0.1))
    assert ours.left(1) is None, "the worker died after it wrote the frame"
    theirs.clear()
    assert ours.left(1) is None
    theirs.put(wire.end_item(2, b"{}", 0.1))
    left = ours.left(1)
    assert left is not None
    assert messages(wire.batch_frame(left)) == [wire.Batch(2, [(2, b"{}", 0.1)])]


def test_a_tray_that_a_handler_has_written_nonsense_to_is_bounded(
    page: RunningPage, ours: Tray
) -> None:
    os.pwrite(page.fd, b"\xff" * 16, page.tray_offset)
    assert ours.left(0) is None
    os.pwrite(page.fd, bytes(8) + (1 << 32 | tray.SIZE).to_bytes(8, "little"), page.tray_offset)
    assert ours.left(0) is None


def test_what_does_not_fit_is_refused_and_what_is_there_stays(ours: Tray) -> None:
    assert ours.put(b"x" * 1000)
    assert not ours.put(b"x" * tray.SIZE)
    assert ours.gathered() == (1, 1, b"x" * 1000)


class TestOutbox:
    @pytest.fixture
    def pipe(self) -> Iterator[tuple[int, int]]:
        pipe = os.pipe()
        os.set_blocking(pipe[0], False)
        yield pipe
        for fd in pipe:
            os.close(fd)

    def read(self, fd: int) -> list[wire.FromWorker]:
        try:
            return messages(os.read(fd, 2**20))
        except BlockingIOError:
            return []

    def test_results_gather_until_they_are_flushed(
        self, theirs: Tray, pipe: tuple[int, int]
    ) -> None:
        outbox = Outbox(pipe[1], theirs)
        for serial in (1, 2, 3):
            outbox.done(serial, b"{}", 0.5)
        assert self.read(pipe[0]) == []
        outbox.flush()
        ends = [(serial, b"{}", 0.5) for serial in (1, 2, 3)]
        assert self.read(pipe[0]) == [wire.Batch(1, ends)]
        outbox.flush()
        assert self.read(pipe[0]) == [], "there was nothing more to say"

    def test_whatever_else_is_sent_comes_after_them(
        self, theirs: Tray, pipe: tuple[int, int]
    ) -> None:
        outbox = Outbox(pipe[1], theirs)
        outbox.done(1, b"{}", 0.5)
        outbox.send(wire.Recalled([2]))
        assert self.read(pipe[0]) == [wire.Batch(1, [(1, b"{}", 0.5)]), wire.Recalled([2])]

    def test_a_result_that_no_tray_holds_is_sent_at_once_and_in_its_turn(
        self, theirs: Tray, pipe: tuple[int, int]
    ) -> None:
        outbox = Outbox(pipe[1], theirs)
        large = b"x" * tray.SIZE
        outbox.done(1, b"{}", 0.5)
        written: list[bytes] = []
        outbox._write = written.append  # type: ignore[method-assign]
        outbox.done(2, large, 0.5)
        assert messages(b"".join(written)) == [
            wire.Batch(1, [(1, b"{}", 0.5)]),
            wire.Done(2, large, 0.5),
        ]
