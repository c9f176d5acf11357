"""How long, as people write it: the one reading for flags, settings, JSON lines and queue URLs."""

from __future__ import annotations

import re

LONGEST = 36500 * 86_400.0
"""Seconds that a duration may have: a hundred years."""

_PARTS = (("d", 86_400.0), ("h", 3600.0), ("m", 60.0), ("s", 1.0), ("ms", 0.001))
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_WRITTEN = re.compile("".join(rf"(?:({_NUMBER})\s*{unit}\s*)?" for unit, _ in _PARTS))
_BARE = re.compile(_NUMBER)


def seconds_of(text: str) -> float:
    """Seconds from `90`, `1.5s`, `250ms`, `5m`, `1h30m` or `7d`: from the largest unit down.

    Raises:
        ValueError: no duration, or longer than `LONGEST`; the text is the way out.
    """
    text = text.strip()
    if _BARE.fullmatch(text):
        seconds = float(text)
    elif text and (written := _WRITTEN.fullmatch(text)):
        numbers = zip(written.groups(), _PARTS, strict=True)
        seconds = sum(float(number) * unit for number, (_, unit) in numbers if number)
    else:
        raise ValueError("give seconds, or numbers with d, h, m, s or ms, such as 5m or 1h30m")
    return within_reason(seconds)


def within_reason(seconds: float) -> float:
    """The seconds, if no more than `LONGEST`.

    Raises:
        ValueError: they are more; the text is the way out.
    """
    if seconds > LONGEST:
        raise ValueError("give at most 36500d")
    return seconds
