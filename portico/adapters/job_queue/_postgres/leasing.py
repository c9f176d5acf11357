"""An adapter as an owner of leases, and recovering those of others that ran out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

from portico.adapters.job_queue._liveness import process_name
from portico.adapters.job_queue._postgres.burying import bury_refused
from portico.adapters.job_queue._postgres.connections import Connections
from portico.adapters.job_queue._postgres.errors import REFUSED
from portico.adapters.job_queue._postgres.settling import fence
from portico.adapters.job_queue._rows import STATUS, token_of
from portico.adapters.job_queue._settling import EXPIRE, EXPIRED, told
from portico.exceptions import DatabaseError, PorticoError
from portico.ports.leasing import (
    MAX_EXPIRIES,
    MAX_HISTORY,
    Answer,
    Lease,
    LeaseKey,
    Recovered,
    Renewal,
)
from portico.utils.logging import get_logger

_TIDY_EVERY = 60.0
_FORGOTTEN = 3 * 86_400 * 1_000_000
"""Microseconds after which an owner that was not heard of is nobody's any more."""
_MOST = 2**31 - 1
_WAITED = 4
"""Of a lease length, so much: who waited longer for the store than that recovers nothing."""


_NEXT_SUMS = "jobs run as ever; look at portico_totals: no sum there may be over 2^63"

logger = get_logger(__name__)


class Owner:
    """Holds leases by a number; the row behind the number is for people to read."""

    def __init__(
        self, connections: Connections, lease_seconds: float, monotonic: Callable[[], float]
    ) -> None:
        self._connections = connections
        self._schema = connections.place.quoted_schema
        self._monotonic = monotonic
        self._id: int | None = None
        self._tidied_at = monotonic()
        self.lease_seconds = lease_seconds

    @property
    def lease_micros(self) -> int:
        """How long a lease holds, in microseconds."""
        return int(self.lease_seconds * 1_000_000)

    async def id(self) -> int:
        """By which its leases are marked."""
        if self._id is None:
            self._id = await self._connections.run(
                lambda found: found.fetchval(
                    f"INSERT INTO {self._schema}.portico_owners (name, seen_at) "
                    f"VALUES ($1, {self._schema}.portico_now()) RETURNING id",
                    process_name(),
                )
            )
        assert self._id is not None
        return self._id

    async def leave(self) -> None:
        """Be forgotten, unless leases are still held."""
        if self._id is None:
            return
        with suppress(PorticoError):  # others forget it in time
            await self._connections.run(
                lambda found: found.execute(
                    f"DELETE FROM {self._schema}.portico_owners WHERE id = $1 AND NOT EXISTS ("
                    f"SELECT FROM {self._schema}.portico_jobs "
                    "WHERE status = 'running' AND owner_id = $1)",
                    self._id,
                )
            )

    async def renew(self, leases: Sequence[Lease]) -> list[Renewal]:
        """Extend held leases, and give a sign of life."""
        keys = sorted({lease.key for lease in leases})  # one that comes twice is extended once
        renewals = await self._renewed(keys)
        return [renewals[lease.key] for lease in leases]

    async def _renewed(self, keys: Sequence[LeaseKey]) -> dict[LeaseKey, Renewal]:
        """In halves, where one of them is refused: what cannot be renewed is lost."""
        try:
            return await self._renewed_together(keys)
        except DatabaseError as error:
            if not keys or not isinstance(error.cause, REFUSED):
                raise
        if len(keys) == 1:
            return {keys[0]: Renewal(Answer.LOST)}
        middle = len(keys) // 2
        return await self._renewed(keys[:middle]) | await self._renewed(keys[middle:])

    async def _renewed_together(self, keys: Sequence[LeaseKey]) -> dict[LeaseKey, Renewal]:
        fences = [fence(token) for _, token in keys]
        owner_id = await self.id()
        rows = await self._connections.run(
            lambda found: found.fetch(
                f"SELECT * FROM {self._schema}.portico_renew($1, $2, $3, $4, $5, $6)",
                [UUID(bytes=job_id) for job_id, _ in keys],
                [attempt for attempt, _ in fences],
                [nonce for _, nonce in fences],
                owner_id,
                process_name(),
                self.lease_micros,
            )
        )
        return {
            keys[place - 1]: Renewal(Answer(standing), cancel) for place, standing, cancel in rows
        }

    async def cancel_requests(self) -> list[LeaseKey]:
        """The leases of this owner that someone asked to end."""
        rows = await self._connections.run(
            lambda found: found.fetch(
                f"SELECT id, attempt, nonce FROM {self._schema}.portico_jobs "
                "WHERE status = 'running' AND owner_id = $1 AND cancel_requested",
                self._id,
            )
        )
        return [(row[0].bytes, token_of(row[1], row[2] or b"")) for row in rows]

    async def recover(self, limit: int) -> list[Recovered]:
        """Settle attempts whose lease ran out, by the store's clock and the jobs' own rows.

        Nothing is settled where this had to wait: what kept it waiting kept others from renewing.
        """
        began = self._monotonic()
        now = await self._connections.run(
            lambda found: found.fetchval(f"SELECT {self._schema}.portico_now()")
        )
        if self._monotonic() - began > self.lease_seconds / _WAITED:
            return []
        rows = await self._recovered(limit, now)
        if self._monotonic() - self._tidied_at > _TIDY_EVERY:
            self._tidied_at = self._monotonic()
            await self._tidy()
        return [Recovered(_lease_of(row), STATUS[row["status"]]) for row in rows]

    async def _tidy(self) -> None:
        """Sums that are not to be had are no reason to keep to oneself what was recovered."""
        try:
            await self._connections.run(
                lambda found: found.execute(f"SELECT {self._schema}.portico_tidy($1)", _FORGOTTEN)
            )
        except DatabaseError as error:
            logger.error("counts_not_summed_up", error=str(error), next=_NEXT_SUMS)  # noqa: TRY400

    async def _recovered(self, limit: int, now: int) -> Sequence[Any]:
        """Their rows; without those because of which the server refuses it, which are buried."""
        try:
            return await self._recovered_together(limit, now)
        except DatabaseError as error:
            if not isinstance(error.cause, REFUSED):
                raise
            if not await bury_refused(self._connections, None):
                raise
        return await self._recovered_together(limit, now)

    async def _recovered_together(self, limit: int, now: int) -> Sequence[Any]:
        what = told(EXPIRE, EXPIRED)
        return await self._connections.run(
            lambda found: found.fetch(
                f"SELECT * FROM {self._schema}.portico_recover($1, $2, $3, $4, $5, $6, $7, $8)",
                min(limit, _MOST),
                what.type,
                what.message,
                what.last_word,
                MAX_EXPIRIES,
                MAX_HISTORY,
                self._connections.place.channel,
                now + self.lease_micros // _WAITED,
            )
        )


def _lease_of(row: Any) -> Lease:
    created_by = row["created_by"]
    return Lease(
        row["id"].bytes,
        token_of(row["attempt"], row["nonce"] or b""),
        row["attempt"],
        row["queue_name"],
        row["job_type"],
        row["payload"],
        row["priority"],
        row["max_retries"],
        row["retry_count"],
        row["scheduled_at"],
        row["started_at"] or 0,
        row["created_at"],
        None if created_by is None else created_by.bytes,
        row["metadata"],
        row["error_message"],
        row["suspect"],
    )
