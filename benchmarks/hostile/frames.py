"""Frames as a worker may write them, and nearly so: what an attack is made of."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable
from random import Random
from typing import Any
from uuid import UUID

import msgspec

from portico.ports.leasing import Evidence
from portico.supervisor import wire

PAGE = 202
"""The descriptor of a worker's page, as `birth` moves it."""
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


def body_of(verb: str, means: Means) -> bytes:
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


VERBS = (
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
    verb = means.random.choice(VERBS)
    return [means.random.getrandbits(32), verb, body_of(verb, means)]


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
