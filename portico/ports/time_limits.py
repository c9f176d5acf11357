"""How long an attempt may take: said for all jobs, for a job type, or for one job.

The soft deadline cancels the handler's coroutine. Where that does not end it, the hard deadline,
`kill_grace` seconds later, kills its worker process.

| said by | how |
|---|---|
| the supervisor | `--job-timeout`, `--kill-grace` |
| a job type | attributes `job_timeout` and `kill_grace` of its handler |
| one job | `job_timeout` and `kill_grace` in its metadata, where `create_job` puts them |

The narrower one wins, each of the two on its own. None of them exceeds `--max-job-timeout`, where
an operator gives that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from portico.exceptions import ValidationError
from portico.ports import creators

NAMES = ("job_timeout", "kill_grace")
LONGEST = 366 * 86_400.0
"""Seconds."""


class TimeLimits(NamedTuple):
    """The two limits of one attempt, in seconds; `job_timeout=None` sets no deadline at all."""

    job_timeout: float | None
    kill_grace: float

    @property
    def hard(self) -> float | None:
        """Seconds from the start to the hard deadline; `None`: there is none."""
        return None if self.job_timeout is None else self.job_timeout + self.kill_grace

    def narrowed(self, said: Mapping[str, Any]) -> TimeLimits:
        """These limits, with what is said in their place; what is not usable is not heard."""
        heard = {name: said[name] for name in NAMES if name in said and not flaw(name, said[name])}
        return self._replace(**heard) if heard else self

    def within(self, most: float | None, grace: float) -> TimeLimits:
        """These limits where no attempt may run for more than `most` seconds, and be killed no more
        than `grace` seconds after that; `None`: as they are."""
        if most is None:
            return self
        timeout = most if self.job_timeout is None else min(most, self.job_timeout)
        return TimeLimits(timeout, min(self.kill_grace, most - timeout + grace))


def flaw(name: str, value: object) -> str | None:
    """What is wrong with a limit, in words that follow its name; `None` when it is usable."""
    if value is None and name == "job_timeout":
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    lowest = 0.0 if name == "kill_grace" else 0.001
    if number and lowest <= value <= LONGEST:  # type: ignore[operator]
        return None  # compared as it is: there are whole numbers that no float holds
    none = " or None" if name == "job_timeout" else ""
    return f"is {value!r:.80}; give seconds from {lowest:g} to {LONGEST:g}{none}"


def check_metadata(metadata: object) -> None:
    """Admit the metadata of a job.

    Raises:
        ValidationError: it names a limit that is not usable, or has a key of Portico's own.
    """
    if metadata and isinstance(metadata, Mapping):
        if creators.KEY in metadata:
            raise ValidationError(
                f"metadata[{creators.KEY!r}] is Portico's own; give created_by",
                {"field": "metadata"},
            )
        for name in NAMES:
            if name in metadata and (wrong := flaw(name, metadata[name])):
                raise ValidationError(f"metadata[{name!r}] {wrong}", {"field": name})
