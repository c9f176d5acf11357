"""Texts within limits: of one that is too long the middle goes, for the end says most."""

from __future__ import annotations

_MARK = "…"


def shortened(body: bytes, limit: int) -> str:
    """UTF-8 as text of at most `limit` bytes, a third of them from its end when it is longer."""
    if len(body) <= limit:
        return body.decode("utf-8", "ignore")
    room = max(0, limit - len(_MARK.encode()))
    end = room // 3
    head = body[: room - end].decode("utf-8", "ignore")
    tail = body[len(body) - end :].decode("utf-8", "ignore")
    return f"{head}{_MARK}{tail}" if room else ""
