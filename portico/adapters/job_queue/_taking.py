"""What one exchange takes of the jobs that it comes to."""

from __future__ import annotations

from collections import Counter

from portico.ports.wanted import Wanted


class Taking:
    """Counts what is taken, for whoever goes through the jobs in order."""

    def __init__(self, wanted: Wanted, limit: int) -> None:
        self._wanted = wanted
        self._left = limit
        self._counts: Counter[str] = Counter()

    @property
    def wants_more(self) -> bool:
        """Whether the limit is not reached."""
        return self._left > 0

    def wants(self, job_type: str) -> bool:
        """Whether one more of this type is to be taken."""
        if self._left <= 0 or not self._wanted.has(job_type):
            return False
        most = self._wanted.most.get(job_type)
        return most is None or self._counts[job_type] < most

    def count(self, job_type: str) -> None:
        """One of this type is taken."""
        self._left -= 1
        self._counts[job_type] += 1
