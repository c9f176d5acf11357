"""One worker of the pipe limit: `python -m benchmarks.pipe_worker FD`."""

from __future__ import annotations

import asyncio
import socket
import sys

import msgspec
import uvloop

from benchmarks.frames import Frames

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(list[tuple[bytes, bytes]]).decode


async def handle(payload: bytes) -> bytes:
    return payload[:2]


class Worker(Frames):
    """Runs one coroutine per job and answers batch by batch."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def frame_received(self, body: bytes) -> None:
        task = asyncio.get_running_loop().create_task(self._run(body))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, body: bytes) -> None:
        self.send(encode([(job, await handle(payload)) for job, payload in decode(body)]))

    def connection_lost(self, error: Exception | None) -> None:
        self.closed.set()


async def main(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    _, worker = await loop.create_connection(Worker, sock=socket.socket(fileno=descriptor))
    await worker.closed.wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
