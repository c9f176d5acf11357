"""What a turn of the loop takes of what a worker writes, and what the supervisor holds of it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from portico.ports.document import MAX_PAYLOAD
from portico.ports.leasing import Failure
from portico.supervisor import framing, intake, outflow, tray, wire
from portico.supervisor.allowance import Allowance
from portico.supervisor.framing import FrameError
from portico.supervisor.intake import Intake
from portico.supervisor.outflow import Outflow
from tests.support.pipes import drain

pytestmark = pytest.mark.security("S5")

MIB = 2**20


class Pipe:
    """A pipe that blocks nobody."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.reading, False)
        os.set_blocking(self.writing, False)

    def close(self) -> None:
        os.close(self.reading)
        os.close(self.writing)


@pytest.fixture(name="results")
def results_pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


@pytest.fixture(name="jobs")
def jobs_pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


class Told:
    """What an intake tells."""

    def __init__(self) -> None:
        self.turns: list[list[Any]] = []
        self.flaws: list[FrameError] = []
        self.intake = Intake(wire.reader_of_worker(), self.turns.append, self.flaws.append)

    @property
    def frames(self) -> list[Any]:
        return [frame for turn in self.turns for frame in turn]


def mourned(count: int, first: int = 0) -> list[wire.Mourned]:
    return [wire.Mourned(number) for number in range(first, first + count)]


def stream(frames: list[Any]) -> bytes:
    return b"".join(wire.frame(frame) for frame in frames)


async def turns(enough: Any) -> None:
    async with asyncio.timeout(20):
        while not enough():  # noqa: ASYNC110 - turns of the loop are what is waited for
            await asyncio.sleep(0)


async def test_a_flood_of_frames_is_taken_a_few_in_a_turn_and_others_have_theirs(
    results: Pipe,
) -> None:
    told, sent = Told(), mourned(10 * intake.FRAMES + 7)
    os.write(results.writing, stream(sent))
    told.intake.open(results.reading)
    others = 0
    while len(told.frames) < len(sent):
        await asyncio.sleep(0)
        others += 1
    assert told.frames == sent
    assert max(map(len, told.turns)) == intake.FRAMES
    assert others >= 10
    os.write(results.writing, stream(mourned(1)))
    await turns(lambda: len(told.frames) == len(sent) + 1)
    told.intake.close()


async def test_a_pipe_that_is_held_is_not_read_also_in_the_midst_of_a_flood(results: Pipe) -> None:
    told, sent = Told(), mourned(3 * intake.FRAMES)
    os.write(results.writing, stream(sent))
    told.intake.open(results.reading)
    await turns(lambda: told.turns)
    told.intake.hold("test", held=True)
    taken = len(told.frames)
    os.write(results.writing, stream(mourned(1, 5000)))
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(told.frames) == taken
    told.intake.hold("test", held=False)
    await turns(lambda: len(told.frames) == len(sent) + 1)
    assert told.frames == [*sent, *mourned(1, 5000)]
    told.intake.close()


async def test_a_worker_that_is_too_far_ahead_of_those_who_collect_its_results_waits(
    results: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "AHEAD", 10_000)
    told = Told()
    told.intake.open(results.reading)
    sent = [wire.Done(number, b"x" * 12_000, 0.1) for number in range(3)]
    for number, done in enumerate(sent):
        os.write(results.writing, wire.frame(done))
        await turns(lambda number=number: len(told.frames) > number)
        os.write(results.writing, stream(mourned(1)))
        for _ in range(20):
            await asyncio.sleep(0)
        assert told.frames[-1] == done, "it was read although nobody had collected"
        told.intake.collected()
        await turns(lambda: told.frames[-1] == wire.Mourned(0))
        told.intake.collected()
        del told.turns[-1]
    told.intake.close()


async def test_a_pipe_that_is_held_for_two_reasons_is_held_until_there_is_none(
    results: Pipe,
) -> None:
    told = Told()
    told.intake.open(results.reading)
    told.intake.hold("one", held=True)
    told.intake.hold("other", held=True)
    os.write(results.writing, stream(mourned(1)))
    for reason in ("other", "other", "none"):
        told.intake.hold(reason, held=False)
        for _ in range(20):
            await asyncio.sleep(0)
        assert not told.frames
    told.intake.hold("one", held=False)
    await turns(lambda: told.frames)
    told.intake.close()


async def test_what_stands_before_a_bad_frame_counts_and_nothing_after_it(results: Pipe) -> None:
    told = Told()
    os.write(results.writing, stream(mourned(3)) + b"\x01\0\0\0\xc1" + stream(mourned(3)))
    told.intake.open(results.reading)
    await turns(lambda: told.flaws)
    os.write(results.writing, stream(mourned(3)))
    assert not told.intake.turn()
    assert told.frames == mourned(3)
    assert len(told.flaws) == 1


FRAMES = {
    "ready": wire.Ready(1, ["t" * 200] * 20_000, []),
    "unready": wire.Unready("x" * MIB, ""),
    "batch": wire.Batch(1, [(1, b"", 0.0)] * 20_000),
    "done": wire.Done(1, b"x" * (MAX_PAYLOAD + 1000), 0.0),
    "ended": wire.Ended(1, "Failed", Failure("T", "m" * MIB, ""), True, 0.1, False),
    "recalled": wire.Recalled([1] * MIB),
    "leaving": wire.Leaving("x" * MIB),
    "dumped": wire.Dumped("://a:" * MIB),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_a_frame_larger_than_any_of_its_kind_is_refused_when_its_first_bytes_are_there(
    kind: str,
) -> None:
    reader, whole = wire.reader_of_worker(), wire.frame(FRAMES[kind])
    with pytest.raises(FrameError, match=rf"a {kind} frame of [\d,]+ bytes, over the limit of"):
        list(reader.feed(bytes(whole[:20])))


def test_there_is_a_limit_for_each_kind_of_frame_and_for_no_other() -> None:
    kinds = {kind.__struct_config__.tag.encode() for kind in wire.FromWorker.__args__}
    assert set(wire.LARGEST) == kinds
    assert max(wire.LARGEST.values()) == framing.MAX_FRAME


HONEST = {
    "batch": wire.Batch(1, [(2**40, b"{}", 0.1)] * (tray.ROOM // 24)),
    "done": wire.Done(2**63, b"x" * MAX_PAYLOAD, 0.0),
    "ended": wire.Ended(
        1, "Failed", Failure("T" * 128, "\u2028" * 2700, "\u2028" * 5400), True, 0.1, True,
        ["\U0001f600" * wire.MAX_NAME] * wire.MOST_NAMES,
    ),
    "unready": wire.Unready("\U0001f600" * wire.MAX_REASON, "\U0001f600" * wire.MAX_REASON),
    "dumped": wire.Dumped("\U0001f600" * wire.MAX_STACKS),
    "recalled": wire.Recalled([2**63] * 1000, closing=True),
    "ready": wire.Ready(1, ["t" * 60] * 10_000, ["t" * 60] * 10_000, {"t" * 60: 2**31}),
}  # fmt: skip


@pytest.mark.parametrize("kind", HONEST)
def test_what_an_honest_worker_sends_fits_its_kind(kind: str) -> None:
    assert list(wire.reader_of_worker().feed(bytes(wire.frame(HONEST[kind])))) == [HONEST[kind]]


@pytest.mark.parametrize("body", [
    b"", b"\x91", b"\x91\xa3new", b"\x90", b"\x81\xa4done\x01", b"\xdc\x00\x03\xa5batch\x01\x90",
    b"\x93\xd9\x05batch\x01\x90", b"\x92\xa3" + b"x" * MIB,
], ids=range(8))  # fmt: skip
def test_a_frame_whose_kind_is_none_is_refused_in_few_words(body: bytes) -> None:
    reader = wire.reader_of_worker()
    with pytest.raises(FrameError) as caught:
        list(reader.feed(len(body).to_bytes(4, "little") + body))
    assert len(str(caught.value)) < 300


def test_what_nobody_has_asked_for_is_refused() -> None:
    allowed = Allowance()
    for flawed in (wire.Dumped("x"), wire.Batch(2, [(1, b"", 0.1)]), wire.Batch(1, [])):
        with pytest.raises(FrameError):
            allowed.check(flawed)
    for once in (wire.Leaving("x"), wire.Unready("x", "")):
        allowed.check(once)
        with pytest.raises(FrameError):
            allowed.check(once)


def test_stacks_come_once_for_each_time_that_they_were_asked_for_and_are_cut() -> None:
    allowed, stacks = Allowance(), wire.Dumped("x" * (wire.MAX_STACKS + 1))
    allowed.sent(wire.Dump())
    allowed.check(stacks)
    assert len(stacks.text) == wire.MAX_STACKS
    with pytest.raises(FrameError, match="nobody has asked"):
        allowed.check(stacks)


def test_a_worker_may_give_back_for_every_frame_that_it_was_sent_and_not_for_ever() -> None:
    allowed, given = Allowance(), 0
    for _ in range(100):
        allowed.sent(wire.Recall())
    with pytest.raises(FrameError, match="again and again"):
        while True:
            allowed.check(wire.Recalled([]))
            given += 1
    assert 200 <= given <= 2000


async def test_what_a_worker_does_not_read_is_told_after_some_patience(
    jobs: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outflow, "MOST", 200_000)
    monkeypatch.setattr(outflow, "PATIENCE", 0.01)
    stuck: list[int] = []
    flow, room = Outflow(stuck.append), asyncio.Event()
    flow.open(jobs.writing)
    flow.on_room = room.set
    sent = bytearray(os.urandom(MIB))
    flow.send(sent, answer=True)
    flow.send(sent, answer=True)
    assert flow.full
    await turns(lambda: stuck)
    assert stuck[0] > MIB
    got = bytearray()
    while len(got) < 2 * MIB:
        got += drain(jobs.reading)
        await asyncio.sleep(0)
    assert got == sent + sent
    assert not flow.full
    assert room.is_set()


async def test_a_worker_that_reads_slowly_is_no_worker_that_does_not_read(
    jobs: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outflow, "MOST", 10)
    stuck: list[int] = []
    flow = Outflow(stuck.append)
    flow.open(jobs.writing)
    flow.send(bytearray(MIB), answer=True)
    written = flow._written
    os.read(jobs.reading, 65536)
    await turns(lambda: flow._written > written)
    flow._look(written)
    assert not stuck
    flow._look(flow._written)
    assert stuck
    flow.drop()
    assert not flow.full


async def test_jobs_that_a_worker_does_not_read_because_one_of_them_runs_are_no_answers(
    jobs: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outflow, "MOST", 200_000)
    monkeypatch.setattr(outflow, "PATIENCE", 0.0)
    stuck: list[int] = []
    flow = Outflow(stuck.append)
    flow.open(jobs.writing)
    flow.send(bytearray(MIB))
    flow.send(bytearray(100_000), answer=True)
    flow.send(bytearray(MIB))
    assert not flow.full
    for _ in range(20):
        await asyncio.sleep(0)
    assert not stuck
    flow.send(bytearray(200_000), answer=True)
    assert flow.full
    await turns(lambda: stuck)
    assert stuck == [300_000]
    flow.drop()


async def test_what_is_sent_to_a_closed_pipe_is_dropped_and_said(jobs: Pipe) -> None:
    flow, room = Outflow(lambda _: None), asyncio.Event()
    flow.open(jobs.writing)
    flow.on_room = room.set
    os.close(jobs.reading)
    jobs.reading = os.open(os.devnull, os.O_RDONLY)
    before = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    flow.send(bytearray(MIB))
    signal.signal(signal.SIGPIPE, before)
    assert room.is_set()
    assert not flow.full
