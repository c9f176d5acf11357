"""What a hostile worker writes: each attack takes the pipes of its process and does its worst until
it is killed, or until its time is over. All of it follows from a seed."""

from __future__ import annotations

import mmap
import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from random import Random
from typing import Any
from uuid import UUID

import msgspec

from portico.ports.leasing import Evidence
from portico.supervisor import tray, wire
from portico.supervisor.running_page import RunningPage

JOBS, RESULTS, PAGE, OUTPUT = 200, 201, 202, 1
"""Descriptors of a worker, as `birth` moves them."""
KIB, MIB = 2**10, 2**20
_ODD_NUMBERS = (
    0,
    1,
    -1,
    2**31,
    2**32 - 1,
    2**63 - 1,
    2**64 - 1,
    float("nan"),
    float("inf"),
    5e-324,
)


class Means:
    """What an attack has: randomness, time, and the memory that it shares."""

    def __init__(self, random: Random, seconds: float, known: UUID) -> None:
        """Begin.

        Args:
            random: where everything comes from that is random.
            seconds: how long to go on, unless something kills it.
            known: a job with a large result.
        """
        self.random = random
        self.known = known
        self._until = time.monotonic() + seconds

    @property
    def more(self) -> bool:
        """Whether there is time left."""
        return time.monotonic() < self._until

    def number(self) -> Any:
        """A number, often one at which something overflows."""
        some = self.random.choice(_ODD_NUMBERS)
        return self.random.choice((some, self.random.getrandbits(64), self.random.randrange(1000)))

    def serial(self) -> int:
        """One that it holds, or near that, or any."""
        own = struct.unpack("Q", os.pread(PAGE, 8, 0))[0]
        return int(self.random.choice((own, own + 1, self.random.getrandbits(63))))

    def size(self, most: int) -> int:
        """Of some text: small ones as likely as large ones."""
        return int(most ** self.random.random())

    def text(self, most: int) -> str:
        """Text that is awkward for somebody."""
        part = self.random.choice(
            ("x", "://a:", "\n", "\x00", "\U0001f600", "\r", "a=b&", "\x1b[2J", "password=", '"')
        )
        return part * (self.size(most) // len(part.encode()) + 1)


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)


def write(fd: int, data: bytes | bytearray) -> None:
    """All of it, however long that takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def framed(body: bytes) -> bytes:
    """A frame of this body."""
    return len(body).to_bytes(4, "little") + body


def frame(kind: str, means: Means) -> bytes:
    """A frame of this kind, as it may be or nearly so."""
    return framed(msgspec.msgpack.encode([kind, *FIELDS[kind](means)]))


def _failure(means: Means) -> list[Any]:
    evidence = [means.number() for _ in Evidence._fields]
    return [
        means.text(KIB),
        means.text(30 * KIB),
        means.text(30 * KIB),
        means.random.choice((None, evidence)),
    ]


def _draft(means: Means) -> list[Any]:
    size = means.random.choice((2, 2, 100, MIB // 2))
    payload = b'{"x":"' + b"x" * size + b'"}'
    identity = UUID(int=means.random.getrandbits(128))
    return [identity, "elsewhere", "none.such", payload, 0, 0, None, None, b"{}"]


def _body(verb: str, means: Means) -> bytes:
    many = means.random.choice((1, 1, 20, 3000, 20_000))
    if verb == "insert":
        one = _draft(means)
        count = min(many, 15 * MIB // (len(one[3]) + 60))
        return msgspec.msgpack.encode(
            [[UUID(int=means.random.getrandbits(128)), *one[1:]] for _ in range(count)]
        )
    if verb == "redrive":
        return msgspec.msgpack.encode([means.known] * many)
    if verb == "get_queue_stats":
        return msgspec.msgpack.encode(means.text(100))
    return msgspec.msgpack.encode(means.known)


_VERBS = (
    "insert",
    "get_job",
    "get_result",
    "cancel_job",
    "get_queue_stats",
    "redrive",
    "close",
    "x" * MIB,
)


def _request(means: Means) -> list[Any]:
    verb = means.random.choice(_VERBS)
    return [means.random.getrandbits(32), verb, _body(verb, means)]


def _ends(means: Means) -> list[Any]:
    count = means.random.choice((0, 1, 1, 100, 10_000, 300_000))
    return [[means.serial(), b"{}", 0.1]] * count


FIELDS: dict[str, Callable[[Means], list[Any]]] = {
    "ready": lambda m: [wire.VERSION, [m.text(100)] * m.size(100_000), [], {}],
    "unready": lambda m: [m.text(MIB), m.text(MIB)],
    "batch": lambda m: [m.random.choice((1, 2, m.random.randrange(100))), _ends(m)],
    "done": lambda m: [m.serial(), b"x" * m.size(2 * MIB), m.number()],
    "ended": lambda m: [
        m.serial(), m.random.choice(("Failed", "Quarantined", "Released", "Completed", "x" * KIB)),
        _failure(m), True, m.number(), m.random.random() < 0.5,
        [m.text(400)] * m.random.randrange(8),
    ],
    "mourned": lambda m: [m.serial()],
    "recalled": lambda m: [
        [m.serial() for _ in range(m.random.choice((0, 0, 0, 1, 3000)))], m.random.random() < 0.1,
    ],
    "leaving": lambda m: [m.text(MIB)],
    "dumped": lambda m: [m.text(16 * MIB - KIB)],
    "request": _request,
    "stop": lambda _: [],
}  # fmt: skip
"""What follows a frame's tag, by the tag."""


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
    verb = means.random.choice(_VERBS[:-2])
    body = _body(verb, means)
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
        noise, flood, mixture, requests, half, page, tray_and_death, output, death, family, stopped,
    )
}  # fmt: skip


def plan(seed: int) -> Iterator[tuple[str, int]]:
    """Attacks for ever, each with a seed of its own: each kind once, then at random."""
    random = Random(seed)  # noqa: S311 - no secret
    while True:
        for name in random.sample([*ATTACKS], len(ATTACKS)):
            yield name, random.getrandbits(32)
