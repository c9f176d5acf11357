"""How long jobs wait, of what the stores found."""

from __future__ import annotations

from collections.abc import Iterable

from portico.ports.leasing import Outlook

_SECOND = 1_000_000

Found = tuple[object, object, object]
"""A queue, and of some of its jobs: since when the first has been due, and when the next will be,
in microseconds; `None` for none."""


def outlooks(found: Iterable[Found], now: int) -> dict[str, Outlook]:
    """Per queue how long its jobs wait, names sorted; what a damaged row says does not count."""
    ends: dict[str, list[list[int]]] = {}
    for name, *instants in found:
        if isinstance(name, str):
            for kept, instant in zip(ends.setdefault(name, [[], []]), instants, strict=True):
                kept.extend([instant] if isinstance(instant, int) else [])
    return {
        name: Outlook(
            (now - min(due)) / _SECOND if due else None,
            (min(later) - now) / _SECOND if later else None,
        )
        for name, (due, later) in sorted(ends.items())
    }
