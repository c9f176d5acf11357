"""Texts of failures as every store can keep them: valid, bounded, without NUL."""

from __future__ import annotations

from portico.utils.texts import shortened

_MESSAGE, _TRACEBACK, _OUTPUT, _NAME = 8 * 1024, 16 * 1024, 4 * 1024, 256


def message_text(text: str, room: int = 0) -> str:
    """An error message as every store can keep it: valid, without NUL, at most 8 KiB.

    `room` leaves so many bytes of them for something else.
    """
    return shortened(_valid(text), _MESSAGE - room)


def traceback_text(text: str) -> str:
    """A traceback as every store can keep it; of a long one the end, which says what happened."""
    body = _clean(text[-_TRACEBACK:], 4 * _TRACEBACK).encode()
    return body[-_TRACEBACK:].decode("utf-8", "ignore")


def output_text(text: str) -> str:
    """What a worker printed last, as every store can keep it: of a long text the end."""
    return _clean(text[-_OUTPUT:], 4 * _OUTPUT).encode()[-_OUTPUT:].decode("utf-8", "ignore")


def type_text(text: str) -> str:
    """An error's type name as every store can keep it."""
    return _clean(text, _NAME)


def _clean(text: str, limit: int) -> str:
    return _valid(text)[:limit].decode("utf-8", "ignore")


def _valid(text: str) -> bytes:
    return text.replace("\0", "\ufffd").encode("utf-8", "replace")
