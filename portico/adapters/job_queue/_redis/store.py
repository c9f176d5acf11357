"""One namespace of a Redis server as a store: most methods are one round trip."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from itertools import chain
from typing import Any
from uuid import UUID

from portico.adapters.job_queue import _settling
from portico.adapters.job_queue._admission import full
from portico.adapters.job_queue._attempts import StoredAttempt
from portico.adapters.job_queue._liveness import process_name
from portico.adapters.job_queue._paging import StoredPage
from portico.adapters.job_queue._redis import choosing, counting, listing, rows
from portico.adapters.job_queue._redis.client import Call, RedisClient
from portico.adapters.job_queue._redis.place import RedisPlace
from portico.adapters.job_queue._redis.version import check_version
from portico.adapters.job_queue._redis.wake import Listener
from portico.adapters.job_queue._rows import (
    STATUS,
    StoredJob,
    inserted,
)
from portico.adapters.job_queue._store import Store
from portico.adapters.job_queue._sweep import Sweeps
from portico.exceptions import DatabaseError, PorticoError, QueueConnectionError
from portico.ports.document import MAX_STORED
from portico.ports.draft import Draft
from portico.ports.job import JobStatus
from portico.ports.leasing import (
    CANCELLED,
    Exchange,
    Failure,
    Inserted,
    JobFilter,
    Lease,
    LeaseKey,
    Outlook,
    Receipt,
    Recovered,
    Renewal,
    Settlement,
)
from portico.ports.wanted import EVERYTHING, Wanted
from portico.utils.logging import get_logger

TOO_LARGE = Failure(
    "PayloadTooLarge", f"the stored job has more than {MAX_STORED:,} bytes, too many to be run"
)
_SCRIPT_ARGUMENTS = 10_000
_FAREWELL = 2.0
"""Seconds that exchanges under way, and what they granted to nobody, have when this closes."""
_WAITED = 4
"""Of a lease length, so much: who waited longer for the store than that recovers nothing."""
_MENDED_AT_ONCE = 500
"""Jobs: it takes the server two or three milliseconds, and each owner does so every few seconds."""
_RELEASED = rows.packed_ending("release", None, note=rows.note_of(None))

logger = get_logger(__name__)


class RedisStore(Store):
    """Leases are judged by the server's clock; everything of one adapter has one owner's name."""

    def __init__(
        self,
        place: RedisPlace,
        lease_seconds: float,
        monotonic: Callable[[], float],
        ring: Callable[[str | None], None],
        ring_cancels: Callable[[], None],
    ) -> None:
        self._place = place
        self._length = int(lease_seconds * 1_000_000)
        self._monotonic = monotonic
        self._client = RedisClient(place)
        self._listener = Listener(self._client, ring, ring_cancels)
        self._sweeps = Sweeps(monotonic)
        self._owner = f"{process_name()}:{secrets.token_hex(3)}"
        self._doubtful: list[str] = []
        self._exchanges: set[asyncio.Future[Exchange]] = set()
        self._mended_to = ""
        self.is_full = False
        self._too_large = rows.packed_ending("quarantine", TOO_LARGE, note=rows.note_of(TOO_LARGE))
        self._expired = rows.packed_ending(
            _settling.EXPIRE, _settling.EXPIRED, note=rows.note_of(_settling.EXPIRED)
        )

    async def connect(self) -> None:
        await self._client.open()
        try:
            await check_version(self._client)
        except BaseException:
            await self._client.close()
            raise

    async def close(self) -> None:
        await self._listener.stop()
        with suppress(PorticoError, TimeoutError):
            async with asyncio.timeout(_FAREWELL):
                while self._exchanges:  # one whose caller has gone is followed by a release
                    await asyncio.wait(self._exchanges)
                await self._give_back()
        await self._client.close()

    async def insert(self, drafts: Sequence[Draft]) -> list[Inserted | None]:
        arguments: list[Any] = [self._place.admission.max_pending or 0]
        for draft in drafts:
            arguments += rows.draft_arguments(draft)
        answer = await self._client.one("insert", *arguments)
        if answer[0] == b"full":
            _, queue, waiting, more = answer
            most = self._place.admission.max_pending or 0
            raise full(queue.decode(), int(waiting), int(more), most)
        now = int(answer[1])
        return [inserted(status.decode(), now) if status else None for status in answer[2]]

    def exchange(
        self,
        settlements: Sequence[Settlement],
        queues: Sequence[str],
        limit: int,
        wanted: Wanted = EVERYTHING,
    ) -> asyncio.Future[Exchange]:
        exchange = asyncio.ensure_future(self._exchange(settlements, queues, limit, wanted))
        self._exchanges.add(exchange)
        exchange.add_done_callback(self._exchanges.discard)
        return exchange

    async def _exchange(
        self, settlements: Sequence[Settlement], queues: Sequence[str], limit: int, wanted: Wanted
    ) -> Exchange:
        await self._give_back()
        if wanted.everything or limit <= 0:
            asked = dict.fromkeys(queues, choosing.FIRST_ONES)
            return await self._together(settlements, asked, limit)
        receipts: list[Receipt] = []
        if settlements:  # first, for what they give back may be what is chosen
            receipts = (await self._together(settlements, {}, 0)).receipts
        try:
            chosen = await choosing.choose(self._client.one, self._sweeps, queues, limit, wanted)
            exchange = await self._together((), chosen.places, limit)
        except Exception:
            self._sweeps.forget()
            raise
        taken = len(exchange.leases) < chosen.size and not self.is_full  # by others, meanwhile
        return exchange._replace(receipts=receipts, unseen=chosen.unseen or taken)

    async def _together(
        self, settlements: Sequence[Settlement], asked: Mapping[str, Any], limit: int
    ) -> Exchange:
        """Settle, and lease of each queue what is asked for, in one round trip."""
        nonce, calls = secrets.token_hex(12), []
        if settlements:
            calls.append(Call("settle", rows.settlement_arguments(settlements)))
        leasing = (
            nonce, self._length, limit, self._owner, MAX_STORED, self._too_large,
            *chain(*asked.items()),
        )  # fmt: skip
        if leases := limit > 0 and bool(asked):
            calls.append(Call("lease", leasing))
        try:
            found = await self._client.run(*calls)
            answers = dict(zip((call.script for call in calls), found, strict=True))
            while _is_unfinished(answers.get("lease")):
                [answers["lease"]] = await self._client.run(Call("lease", leasing))
            return self._exchanged(answers, nonce)
        except Exception:  # of whatever kind: a settlement may be refused and a lease granted
            if leases:
                self._doubtful.append(nonce)  # nobody will hear of what may have been granted
            raise

    def _exchanged(self, answers: Mapping[str, Any], nonce: str) -> Exchange:
        receipts = [rows.RECEIPTS[word] for word in _unless_refused(answers.get("settle", []))]
        granted = self._granted(answers.get("lease"))
        if granted is None:
            return Exchange(receipts, [])
        now, next_due, refused, leases, _ = granted
        self._tell_of(refused)
        granted_now = rows.leases_of(leases, bytes.fromhex(nonce), int(now))
        return Exchange(receipts, granted_now, rows.seconds_until(now, next_due))

    async def _give_back(self) -> None:
        """Release what was granted by an exchange whose answer got lost.

        Nobody knows of these leases, so nobody would run the jobs before the leases ran out, and
        that would be charged to jobs that never started.
        """
        if doubtful := tuple(self._doubtful):
            try:
                await self._client.one("give_back", _RELEASED, *doubtful)
            except DatabaseError as error:  # it will say so again: let these leases run out
                logger.error("grants_not_given_back", count=len(doubtful), error=str(error))  # noqa: TRY400
            self._doubtful = [nonce for nonce in self._doubtful if nonce not in doubtful]

    def _granted(self, answer: Any) -> Any:
        """What was leased; nothing, when the server's memory is full: that ends by settling."""
        if isinstance(answer, QueueConnectionError) and answer.details.get("reason") == "full":
            if not self.is_full:
                self.is_full = True
                logger.error("store_full", error=str(answer), next="nothing is leased until then")
            return None
        if answer is not None:
            self.is_full = False
            _unless_refused(answer)
        return answer

    def _tell_of(self, refused: Sequence[Sequence[Any]]) -> None:
        for job_id, job_type, queue, attempt in refused:
            logger.error(
                "job_dead_lettered",
                job_id=UUID(job_id.decode()),
                job_type=job_type.decode(),
                queue=queue.decode(),
                attempt=attempt,
                error_type=TOO_LARGE.type,
                error=TOO_LARGE.message,
                next="dead-lettered: it is too large to be sent to a worker",
            )

    async def renew(self, leases: Sequence[Lease]) -> list[Renewal]:
        arguments: list[Any] = [self._length]
        for lease in leases:
            arguments += (lease.id.hex(), lease.token.hex())
        return [rows.RENEWALS[word] for word in await self._client.one("renew", *arguments)]

    async def recover(self, limit: int) -> list[Recovered]:
        began, now = self._monotonic(), await self._mend()
        if self._monotonic() - began > self._length / _WAITED / 1_000_000:
            return []  # what kept this waiting kept others from renewing
        not_after = now + self._length // _WAITED
        found = await self._client.one("recover", limit, self._expired, not_after, MAX_STORED)
        return [
            Recovered(
                rows.lease_of(fields, rows.token_in(token), rows.number(started)),
                STATUS[status.decode()],
            )
            for status, token, started, *fields in found
        ]

    async def _mend(self) -> int:
        """Look at the next jobs for what their indexes have lost; answers with the time."""
        looked = Call("mend", (self._mended_to, _MENDED_AT_ONCE, self._length))
        last, now = map(_unless_refused, await self._client.run(looked, Call("now", ())))
        self._mended_to = last.decode()
        return int(now)

    async def request_cancel(self, job_id: bytes) -> bool:
        return bool(await self._client.one("request_cancel", job_id.hex()))

    async def cancel_requests(self) -> list[LeaseKey]:
        return [
            (bytes.fromhex(job_id.decode()), rows.token_in(token))
            for job_id, token in await self._client.one("cancel_requests", self._owner)
        ]

    async def watch_cancels(self) -> bool:
        self._listener.start()
        return self._listener.hears

    def hearing_cancels(self) -> AbstractContextManager[None]:
        return nullcontext()

    async def cancel(self, job_id: bytes) -> bool:
        words = (CANCELLED.type, CANCELLED.message)
        return bool(await self._client.one("cancel", job_id.hex(), *words))

    async def redrive(self, job_ids: Sequence[bytes]) -> list[bytes]:
        changed: list[bytes] = []
        for first in range(0, len(job_ids), _SCRIPT_ARGUMENTS):
            part = [job_id.hex() for job_id in job_ids[first : first + _SCRIPT_ARGUMENTS]]
            found = await self._client.one("redrive", *part)
            changed += [bytes.fromhex(job_id.decode()) for job_id in found]
        return changed

    async def find(self, job_id: bytes) -> StoredJob | None:
        found = await self.told(job_id)
        return None if found is None else found[0]

    async def told(self, job_id: bytes) -> tuple[StoredJob, Sequence[StoredAttempt]] | None:
        pairs, body, history, kind = await self._client.one("told", job_id.hex())
        if kind:
            return rows.lost_row(job_id, kind.decode(), body), []
        if not pairs:
            return None
        return rows.stored_job(job_id, pairs, body), [rows.attempt_of_note(one) for one in history]

    async def page(self, jobs: JobFilter, limit: int, before: int | None) -> StoredPage:
        every = list(await self.counts(None)) if listing.by_status(jobs) else ()
        found_in = listing.indexes(jobs, every)
        return await listing.page(self._client.one, jobs, found_in, limit, before)

    async def counts(self, queue_name: str | None) -> dict[str, dict[JobStatus, int]]:
        return await counting.counts(self._client, queue_name)

    async def outlook(self) -> dict[str, Outlook]:
        return await counting.outlook(self._client)

    async def served(self) -> bool | None:
        return await self._listener.has_others()

    async def purge(self, jobs: JobFilter, limit: int) -> int:
        names = [jobs.queue_name] if jobs.queue_name else list(await self.counts(None))
        gone = 0
        for name in names:
            for status in jobs.each_status:
                gone += await self._purged(name, status.value, jobs, limit - gone)
        return gone

    async def _purged(self, queue: str, status: str, jobs: JobFilter, limit: int) -> int:
        gone = passed = 0
        before: str | int = ""
        if jobs.older_than is not None:
            before = await self._now() - int(jobs.older_than * 1_000_000)
        while gone < limit:
            most = limit - gone
            what = (queue, status, before, jobs.job_type or "", most, listing.LOOKED_AT, passed)
            went, stayed, looked = await self._client.one("purge", *what, jobs.id_digits)
            gone, passed = gone + went, passed + stayed
            if looked < listing.LOOKED_AT:
                break
        return gone

    async def _now(self) -> int:
        return int(await self._client.one("now"))

    def listening(self) -> AbstractContextManager[None]:
        self._listener.start()
        return nullcontext()


def _is_unfinished(granted: Any) -> bool:
    """Whether more was due than one script may look at, so that it has leased nothing yet."""
    return isinstance(granted, list) and granted[4] == 1


def _unless_refused(answer: Any) -> Any:
    if isinstance(answer, PorticoError):
        raise answer
    return answer
