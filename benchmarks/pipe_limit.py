"""The most jobs that fit through the pipes: msgspec frames to uvloop processes, and no queue."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import islice

import msgspec

from benchmarks import noop
from benchmarks.frames import Frames
from benchmarks.samples import Timeline

BATCH = 64
IN_FLIGHT = 4
"""Batches under way per worker: enough that none of them waits for the parent."""

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(list[tuple[bytes, bytes]]).decode


class Parent(Frames):
    """Keeps one worker busy."""

    def __init__(self, batches: Iterator[list[tuple[bytes, bytes]]], done: _Done) -> None:
        super().__init__()
        self._batches = batches
        self._done = done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        for _ in range(IN_FLIGHT):
            self._feed()

    def frame_received(self, body: bytes) -> None:
        self._done.add(len(decode(body)))
        self._feed()

    def _feed(self) -> None:
        if batch := next(self._batches, None):
            self.send(encode(batch))


class _Done:
    def __init__(self, total: int) -> None:
        self.timeline = Timeline(total)
        self.event = asyncio.Event()

    def add(self, count: int) -> None:
        self.timeline.add(time.perf_counter(), count)
        if self.timeline.complete:
            self.event.set()


async def pipe_rate(jobs: int, workers: int, batch: int = BATCH) -> float:
    """Jobs per second from the first tenth to the last, over socket pairs."""
    todo = ((draft.id.bytes, draft.payload) for draft in noop.drafts(jobs))
    batches = iter(lambda: list(islice(todo, batch)), [])
    done = _Done(jobs)
    async with _workers(workers) as sockets:
        loop = asyncio.get_running_loop()
        transports = [
            (await loop.create_connection(lambda: Parent(batches, done), sock=end))[0]
            for end in sockets
        ]
        await done.event.wait()
        for transport in transports:
            transport.close()
    return done.timeline.rate()


@asynccontextmanager
async def _workers(count: int) -> AsyncIterator[list[socket.socket]]:
    """Start that many workers; gives our ends of their pipes, and waits for the workers."""
    pairs = [socket.socketpair() for _ in range(count)]
    processes = [await _start(theirs) for _, theirs in pairs]
    try:
        yield [ours for ours, _ in pairs]
    finally:
        for (ours, _), process in zip(pairs, processes, strict=True):
            ours.close()
            await process.wait()


async def _start(end: socket.socket) -> Process:
    command = [sys.executable, "-m", "benchmarks.pipe_worker", str(end.fileno())]
    process = await asyncio.create_subprocess_exec(*command, pass_fds=[end.fileno()])
    end.close()
    return process
