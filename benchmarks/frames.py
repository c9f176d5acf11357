"""Length-prefixed frames over a stream, with nothing around them."""

from __future__ import annotations

import asyncio
from typing import cast

_HEADER = 4


class Frames(asyncio.Protocol):
    """Calls `frame_received` per frame."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def send(self, body: bytes) -> None:
        self.transport.write(len(body).to_bytes(_HEADER, "little") + body)

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        start = 0
        while len(data) - start >= _HEADER:
            end = start + _HEADER + int.from_bytes(data[start : start + _HEADER], "little")
            if end > len(data):
                break
            self.frame_received(data[start + _HEADER : end])
            start = end
        self._rest = data[start:]

    def frame_received(self, body: bytes) -> None:
        raise NotImplementedError
