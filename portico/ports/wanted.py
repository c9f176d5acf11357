"""Which jobs a lease step is to give out, by their type."""

from __future__ import annotations

from typing import NamedTuple


class Wanted(NamedTuple):
    """Which jobs to lease, by their type."""

    types: frozenset[str] = frozenset()
    only: bool = False
    """Whether jobs of these types alone are wanted, or all but these."""

    @property
    def everything(self) -> bool:
        """Whether no job is unwanted."""
        return not self.only and not self.types

    def has(self, job_type: str) -> bool:
        """Whether jobs of this type are wanted."""
        return (job_type in self.types) is self.only


EVERYTHING = Wanted()
