"""What the jobs of a soak are: kinds, weights, payloads."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

MANY = 30
"""Retries of a job that is to succeed in the end, whatever happens to it."""
SLEEP = 2.0
"""Seconds that the longest well-behaved handler takes."""


class Kind(NamedTuple):
    """One kind of job, and how many of a hundred are of it."""

    job_type: str
    weight: int
    payload: Callable[[Random], dict[str, Any]]
    max_retries: int = MANY


def _milliseconds(random: Random) -> dict[str, Any]:
    return {"milliseconds": round(random.uniform(1.0, 5.0), 2)}


def _fifty(_: Random) -> dict[str, Any]:
    return {"milliseconds": 50.0}


def _nothing(_: Random) -> dict[str, Any]:
    return {}


QUICK, ONCE, PARENT = "soak.quick", "soak.once", "soak.parent"
MEDIUM, RAISES, SLEEPS = "soak.medium", "soak.raises", "soak.sleeps"
BLOCKS, KILLS = "soak.blocks", "soak.kills"

KINDS = (
    Kind(QUICK, 60, _milliseconds),
    Kind(ONCE, 5, _milliseconds, max_retries=0),
    Kind(PARENT, 5, _milliseconds),
    Kind(MEDIUM, 10, _fifty),
    Kind(RAISES, 10, _nothing),
    Kind(SLEEPS, 5, _nothing),
    Kind(BLOCKS, 3, _nothing),
    Kind(KILLS, 2, _nothing),
)


def draw(random: Random) -> tuple[Kind, dict[str, Any]]:
    """The next job to create."""
    (kind,) = random.choices(KINDS, [kind.weight for kind in KINDS])
    return kind, kind.payload(random)
