"""What a hostile worker writes: each attack takes the pipes of its process and does its worst until
it is killed, or until its time is over. All of it follows from a seed."""

from __future__ import annotations

import gc
import mmap
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from random import Random
from uuid import UUID

import msgspec

from benchmarks.hostile.frames import FIELDS, MIB, PAGE, VERBS, Means, body_of, frame, framed
from portico.supervisor import printing, tray, wire
from portico.supervisor.running_page import RunningPage

JOBS, RESULTS, LOG, OUTPUT = 200, 201, 204, 1
"""Descriptors of a worker, as `birth` moves them."""


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)


def write(fd: int, data: bytes | bytearray) -> None:
    """All of it, however long that takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def noise(means: Means) -> None:
    """Random bytes."""
    while means.more:
        write(RESULTS, means.random.randbytes(means.size(MIB)))


def flood(means: Means) -> None:
    """Frames of one kind, over and over."""
    kind = means.random.choice([*FIELDS])
    some = [frame(kind, means) for _ in range(5)]
    smallest = min(some, key=len)
    chosen = means.random.choice((*some, smallest, smallest))
    while means.more:
        write(RESULTS, chosen * max(1, 65536 // len(chosen)))


def mixture(means: Means) -> None:
    """Frames of all kinds, whole ones and such of which bytes are changed."""
    while means.more:
        data = bytearray(frame(means.random.choice([*FIELDS]), means))
        for _ in range(means.random.choice((0, 0, 0, 1, 5))):
            data[means.random.randrange(4, len(data))] = means.random.randrange(256)
        write(RESULTS, data)


def requests(means: Means) -> None:
    """Requests that are well formed, as fast as they can be written; the answers stay unread."""
    verb = means.random.choice(VERBS[:-2])
    body = body_of(verb, means)
    numbers = iter(range(10**6, 10**9))
    _be_deaf()
    while means.more:
        write(RESULTS, framed(msgspec.msgpack.encode(["request", next(numbers), verb, body])))


def _be_deaf() -> None:
    """Have nobody read the job pipe, which stays open: its thread gets other things to read."""
    os.dup(JOBS)
    reading, _ = os.pipe()
    os.dup2(reading, JOBS)


def half(means: Means) -> None:
    """The beginning of a frame, and then nothing, or single bytes of it."""
    data = frame(means.random.choice([*FIELDS]), means)
    write(RESULTS, data[: means.random.randrange(1, len(data))])
    while means.more:
        _pause(0.001)
        write(RESULTS, means.random.choice((b"", b"\x00", data[:1])))


def page(means: Means) -> None:
    """Garbage in the memory that is shared: what runs, since when, its limits, the tray."""
    size = RunningPage.tray_offset + tray.SIZE
    with mmap.mmap(PAGE, size) as memory:
        while means.more:
            at = means.random.choice(
                (
                    means.random.randrange(16),
                    RunningPage.tray_offset // 8,
                    RunningPage.tray_offset // 8 + 1,
                )
            )
            number = means.number()
            word = number % 2**64 if isinstance(number, int) else means.random.getrandbits(64)
            memory[8 * at : 8 * at + 8] = struct.pack("Q", word)
            _pause(0.0001)


def tray_and_death(means: Means) -> None:
    """A tray that claims to hold what it does not, found after a death."""
    with mmap.mmap(PAGE, RunningPage.tray_offset + tray.SIZE) as memory:
        items = means.random.choice(
            (wire.end_item(means.serial(), b"{}", 0.1) * 9000, means.random.randbytes(tray.ROOM))
        )
        memory[RunningPage.tray_offset + 16 : RunningPage.tray_offset + 16 + len(items)] = items
        count = means.random.choice((1, 9000, 2**32 - 1))
        memory[RunningPage.tray_offset + 8 : RunningPage.tray_offset + 16] = struct.pack(
            "Q", count << 32 | len(items)
        )
    os._exit(9)


def output(means: Means) -> None:
    """Whatever can be printed, without end."""
    piece = means.random.choice((
        b"\n", b"x", b"\r", b"x\n", b"://a:\n", b"\xff\x00", b"\x1e", b"\n" * 100 + b"\r" * 100,
        means.random.randbytes(100), b"x" * 3000 + b"\n", b'{"event":"supervisor_stopped"}\n',
    ))  # fmt: skip
    data = piece * (65536 // len(piece))
    while means.more:
        write(OUTPUT, data)


def log(means: Means) -> None:
    """Lines of the log that are none, or somebody else's, or too many."""
    line = b'{"event":"supervisor_stopped","level":"critical","worker":99,"job_id":%s}\n'
    piece = means.random.choice((
        line % b"1", line % (b"[" * 10_000), line % b'"' + b"://a:" * 10_000, b"\n", b"{", b"{}\n",
        b"x" * MIB, means.random.randbytes(1000), b'{"event":"' + b"\\u0000" * 2000 + b'"}\n',
    ))  # fmt: skip
    data = piece * max(1, 65536 // len(piece))
    while means.more:
        write(LOG, means.random.choice((data, _odd_line(means))))


def _odd_line(means: Means) -> bytes:
    """A line of the log with something odd in it, at a depth at which recursion ends."""
    deep = b"[" * (depth := means.random.randrange(800, 1100)) + b"]" * depth
    odd = means.random.choice((deep, b"[]", b"{}", b"1e400", b"-1", b"9" * 4000, b'"\\ud800"'))
    said = {"event": b'"x"', "job_id": b'"1"', "attempt": b"1"}
    name = means.random.choice(("event", "job_id", "attempt", "worker", "logger", "timestamp", "x"))
    said[name] = odd
    return b"{%s}\n" % b",".join(b'"%s":%s' % (key.encode(), value) for key, value in said.items())


def labels(means: Means) -> None:
    """Output that says whose it is, in very small pieces, each of somebody else."""
    key, bare = printing.labels.key, means.random.choice((b"", b"", b"x", b"\n"))
    data = b""
    while len(data) < 65536:
        job = {"job_id": str(UUID(int=means.random.getrandbits(128))), "attempt": 1}
        label = means.random.choice((b"{}", msgspec.json.encode(job), b"x"))
        data += printing.frame(key, label, means.random.choice((b"", b"\n")), 1) + bare
    while means.more:
        write(OUTPUT, data)


def last_words(means: Means) -> None:
    """Nothing for a while, and then as many lines as the pipes hold, and the end."""
    _pause(0.5)
    line = means.random.choice((b"{}\n", b"\n", b'{"event":"x"}\n', b"x\n"))
    for fd in (LOG, OUTPUT):
        os.set_blocking(fd, False)
        with suppress(BlockingIOError):
            while True:
                os.write(fd, line * (4096 // len(line)))
    os._exit(9)


def threads(means: Means) -> None:
    """As many threads as there may be, and the pipes are full meanwhile."""
    for _ in range(means.random.choice((200, 2000))):
        with suppress(RuntimeError):
            threading.Thread(target=_pause, args=(3.0,), daemon=True).start()
    output(means)


def results(means: Means) -> None:
    """Large results for whatever waits in its worker, as if all of that had ended."""
    worker = next(
        o for o in gc.get_objects() if type(o).__name__ == "Worker" and hasattr(o, "_page")
    )
    while means.more:
        if (errand := worker._inbox.take()) is None:
            _pause(0.001)
            continue
        with mmap.mmap(PAGE, RunningPage.tray_offset) as memory:
            memory[:8] = struct.pack("Q", errand.serial)
        write(RESULTS, wire.frame(wire.Done(errand.serial, b'"' + b"x" * (MIB - 2) + b'"', 0.0)))


def death(means: Means) -> None:
    """A pipe full of frames, and then the end; something that it has started goes on writing."""
    kind = means.random.choice([*FIELDS])
    data = min((frame(kind, means) for _ in range(5)), key=len)
    os.set_blocking(RESULTS, False)
    if means.random.random() < 0.5 and not os.fork():
        os.setsid()
        os.set_blocking(RESULTS, True)
        while means.more:
            write(RESULTS, data)
        os._exit(0)
    try:
        for _ in range(2 * MIB // len(data) + 1):
            os.write(RESULTS, data)
    except BlockingIOError:
        pass
    os._exit(9)


def family(means: Means) -> None:
    """Very many children, half of them in sessions of their own."""
    code = f"import os, time; os.fork(); os.fork(); time.sleep({3})"
    for number in range(means.random.choice((10, 40))):
        subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-S", "-c", code], start_new_session=bool(number % 2),
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
    while means.more:
        _pause(0.01)


def stopped(means: Means) -> None:
    """A child writes requests, and the worker itself stands still."""
    body = msgspec.msgpack.encode(means.known)
    data = framed(msgspec.msgpack.encode(["request", 1, "get_result", body]))
    _be_deaf()
    while means.more:
        write(RESULTS, data * 100)


ATTACKS: dict[str, Callable[[Means], None]] = {
    act.__name__: act
    for act in (
        noise, flood, mixture, requests, half, page, tray_and_death, output, labels, log, threads,
        results, last_words, death, family, stopped,
    )
}  # fmt: skip


def plan(seed: int) -> Iterator[tuple[str, int]]:
    """Attacks for ever, each with a seed of its own: each kind once, then at random."""
    random = Random(seed)  # noqa: S311 - no secret
    while True:
        for name in random.sample([*ATTACKS], len(ATTACKS)):
            yield name, random.getrandbits(32)
