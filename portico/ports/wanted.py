"""Which jobs a lease step is to give out, by their type."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Wanted(NamedTuple):
    """Which jobs to lease, by their type."""

    types: frozenset[str] = frozenset()
    only: bool = False
    """Whether jobs of these types alone are wanted, or all but these."""
    most: Mapping[str, int] = {}
    """Of these types, which are wanted, no more than so many jobs: 1 or more of each."""

    @property
    def everything(self) -> bool:
        """Whether no job is unwanted."""
        return not self.only and not self.types and not self.most

    def has(self, job_type: str) -> bool:
        """Whether jobs of this type are wanted."""
        return (job_type in self.types) is self.only

    def after(self, leased: Iterable[str]) -> Wanted:
        """What is wanted still, when jobs of these types, one for each, have been leased."""
        if not self.most:
            return self
        counts = Counter(leased)
        left = {kind: most - counts[kind] for kind, most in self.most.items()}
        return self._replace(most={}).within(left)

    def within(self, room: Mapping[str, int]) -> Wanted:
        """The same, with no more than so many jobs of these types; 0: with none."""
        full = frozenset(kind for kind, count in room.items() if count <= 0)
        most = {kind: n for kind, n in room.items() if n > 0 and self.has(kind)}
        types = self.types - full if self.only else self.types | full
        return Wanted(types, self.only, most)


EVERYTHING = Wanted()
