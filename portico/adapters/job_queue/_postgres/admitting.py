"""Holding inserts against `max_pending`."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

from portico.adapters.job_queue._admission import Rooms
from portico.adapters.job_queue._postgres.connections import Connections
from portico.adapters.job_queue._postgres.reading import Reading
from portico.ports.draft import Draft


class Doorkeeper:
    """Counts the waiting jobs of a queue, as seldom as that does, and refuses what is too much."""

    def __init__(self, max_pending: int, connections: Connections, reading: Reading) -> None:
        self._max_pending = max_pending
        self._rooms = Rooms(max_pending)
        self._connections = connections
        self._reading = reading

    async def admit(self, drafts: Sequence[Draft]) -> None:
        """Let these in.

        Raises:
            QueueFullError: a queue has no room for them.
        """
        for name in self._rooms.uncounted(drafts):
            began = monotonic()
            waiting = await self._count(name)
            self._rooms.counted(name, waiting, monotonic() - began)
        refusal = self._rooms.refusal(drafts)
        if refusal is not None:
            raise refusal

    async def _count(self, name: str) -> int:
        return await self._connections.run(
            lambda found: self._reading.waiting(found, name, self._max_pending)
        )
