"""The fault matrix: the ids that the tests of this folder's siblings must cover, and the waivers.

A group is the first letter: A death of a worker, B misbehaviour of a handler, C the supervisor's
process, D the store, E time, F resources, G the wire. A test says
what it covers with `@pytest.mark.fault("A1")`; what the fault is stands in the test's name.
"""

from __future__ import annotations


def _group(letter: str, last: int) -> list[str]:
    return [f"{letter}{number}" for number in range(1, last + 1)]


ROWS = [
    *_group("A", 24),
    *_group("B", 41),
    *_group("C", 24),
    *_group("D", 33),
    *_group("E", 10),
    *_group("F", 8),
    *_group("G", 9),
]

WAIVERS = {
    "E6": "cron expressions across daylight saving: there is no cron trigger yet",
    "E7": "two schedulers in the same second: there is no cron trigger yet",
    "E8": "a scheduler that was down: there is no cron trigger yet",
}

MOST_WAIVERS = 8

NEVER_WAIVED = {
    *_group("A", 24),
    *(row for row in _group("B", 28) if row not in {"B9", "B10", "B11"}),
    *_group("C", 16),
    *_group("D", 33),
    *_group("G", 6),
}
