"""When a failed attempt runs again. Pure: knows no clock, no queue and no loop."""

from __future__ import annotations

import math
import random as _random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from portico.exceptions import ConfigurationError

Random = Callable[[], float]
"""A uniform number from 0 to 1, as `random.random` makes it."""

_MAX_EXPONENT = 64
"""Doubling more often than this changes nothing: every maximum is reached, and floats overflow."""


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """`min(max_delay, base_delay * 2 ** retry_count)` seconds, some of them left to chance.

    Attributes:
        base_delay: seconds before the first retry, at most.
        max_delay: seconds before any retry, at most.
        jitter: the share of them that is left to chance, from 0 to 1; with the default a delay
            is between one half and the whole, so that jobs that failed together do not come
            back together.

    Raises:
        ConfigurationError: a value is out of range.
    """

    base_delay: float = 2.0
    max_delay: float = 3600.0
    jitter: float = 0.5

    def __post_init__(self) -> None:
        _check("base_delay", self.base_delay, math.inf)
        _check("max_delay", self.max_delay, math.inf)
        _check("jitter", self.jitter, 1.0)

    def delay(self, retry_count: int, random: Random = _random.random) -> float:
        """Seconds until the retry that follows `retry_count` earlier ones."""
        whole = min(
            self.max_delay, self.base_delay * 2.0 ** min(max(retry_count, 0), _MAX_EXPONENT)
        )
        return whole * (1.0 - self.jitter * random())


@dataclass(frozen=True)
class RetryPolicies:
    """The policy of each job type that has one of its own, and of all others."""

    default: RetryPolicy = field(default_factory=RetryPolicy)
    by_type: Mapping[str, RetryPolicy] = field(default_factory=lambda: MappingProxyType({}))

    def of(self, job_type: str) -> RetryPolicy:
        """The policy of a job type."""
        return self.by_type.get(job_type, self.default)


def _check(name: str, value: float, most: float) -> None:
    if not (0 <= value <= most and math.isfinite(value)):
        upper = "" if most == math.inf else f" to {most:g}"
        raise ConfigurationError(
            f"retry policy: {name} is {value!r}; give a number of 0{upper or ' or more'}"
        )
