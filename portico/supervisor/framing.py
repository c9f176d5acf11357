"""A stream of bytes cut into messages: four bytes of length, little endian, and a MessagePack array
led by its type's tag.

What arrives is not trusted. A length over the limit is refused before anything is allocated for it,
and where the kinds have limits of their own, a frame over that of its kind before it is decoded: a
few bytes make an object of many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

HEADER = 4
MAX_FRAME = 16 * 1024 * 1024
"""Bytes: sixteen payloads of the largest size, and more than any batch that `pool` sends."""

_ARRAY, _TEXT = 0x90, 0xA0
"""What the first two bytes of a short array begin with that is led by a short text."""
_TELLING = 12
"""Bytes of a frame that say of which kind it is."""
_SAID = 200
"""Characters of what the decoder says, which may quote the frame."""


class FrameError(Exception):
    """What arrived is not a frame of ours."""


class MessageReader:
    """Cuts a stream of bytes into messages: however it is sliced, the messages are the same."""

    def __init__(
        self, decode: Callable[[memoryview], Any], largest: Mapping[bytes, int] | None = None
    ) -> None:
        """Begin a stream.

        Args:
            decode: makes a message of the bytes of one.
            largest: how many bytes a frame may have, by tag; there are no others then.
        """
        self._decode = decode
        self._largest = largest
        self._rest = bytearray()
        self._wanted = 0
        """Bytes that the rest must have before it is worth another look."""

    @property
    def truncated(self) -> bool:
        """Whether the stream stands in the middle of a frame."""
        return bool(self._rest)

    def feed(self, data: bytes) -> Iterator[Any]:
        """The messages that `data` completes; to be taken to the end before the next data.

        Raises:
            FrameError: an impossible length, or a body that is no message of the expected kind.
        """
        whole: bytes | bytearray = data
        if self._rest:
            self._rest += data  # in place: a large frame comes in many pieces
            if len(self._rest) < self._wanted:
                return
            whole, self._rest = self._rest, bytearray()
        view = memoryview(whole)
        start, end, self._wanted = 0, len(whole), HEADER
        while end - start >= HEADER:
            size = int.from_bytes(view[start : start + HEADER], "little")
            if size > MAX_FRAME:
                raise FrameError(f"a frame of {size:,} bytes, over the limit of {MAX_FRAME:,}")
            body = view[start + HEADER : start + HEADER + size]
            if self._largest is not None and len(body) >= min(size, _TELLING):
                _check_kind(body, size, self._largest)
            if len(body) < size:
                known = len(body) >= _TELLING
                self._wanted = HEADER + (size if known else min(size, _TELLING))
                break
            yield self._message(body)
            start += HEADER + size
        self._rest += view[start:]

    def _message(self, body: memoryview) -> Any:
        try:
            return self._decode(body)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise FrameError(f"a frame that is none of ours: {str(error)[:_SAID]}") from error


def _check_kind(body: memoryview, size: int, largest: Mapping[bytes, int]) -> None:
    kind = _kind(body)
    if kind not in largest:
        raise FrameError(f"a frame that is none of ours: of the kind {kind!r}")
    if size > largest[kind]:
        raise FrameError(
            f"a {kind.decode()} frame of {size:,} bytes, over the limit of {largest[kind]:,}"
        )


def _kind(body: memoryview) -> bytes:
    """The tag that leads a frame, from its first bytes; empty where none does."""
    if len(body) < 2 or body[0] & ~0xF != _ARRAY or body[1] & ~0x1F != _TEXT:  # noqa: PLR2004 - one of each
        return b""
    return bytes(body[2 : 2 + (body[1] & 0x1F)])
