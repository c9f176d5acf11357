"""Why a system is not in the comparison."""

from __future__ import annotations

_SHORT = 160


class PeerFailedError(Exception):
    """A system could not be installed, or did not do its jobs.

    Args:
        reason: for a line of the table.
        said: what it wrote meanwhile.
    """

    def __init__(self, reason: str, said: str = "") -> None:
        super().__init__(reason)
        self.said = said[-4000:]


def last_line(said: str) -> str:
    """What a system said last, as far as it fits into a line."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1][:_SHORT] if lines else "it said nothing"
