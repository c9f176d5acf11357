"""Jobs made of values that lie about themselves, or that cannot be looked at."""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo
from typing import Any
from uuid import UUID

from portico.exceptions import ValidationError
from portico.ports.job_queue import JobQueueAdapter
from portico.testing.jobs import make_job


class _Mute:
    """Nothing can be learned of it."""

    def __repr__(self) -> str:
        raise RuntimeError("nothing to see")

    __hash__ = None  # type: ignore[assignment]


class _Loud(int):
    """A number that writes itself down as something else."""

    def __repr__(self) -> str:
        return "all; of them"

    def __format__(self, _: str) -> str:
        return "all; of them"

    __str__ = __repr__


class _Masked(UUID):
    """An id that is another one whenever it is asked."""

    @property
    def hex(self) -> str:
        return "no such id"

    @property
    def bytes(self) -> bytes:
        return b"no such id"


class _Nowhere(tzinfo):
    def utcoffset(self, _: datetime | None) -> timedelta:
        raise RuntimeError("nowhere")


class OddValueRules:
    async def test_a_job_whose_values_cannot_be_looked_at_holds_no_other_back(
        self, queue: JobQueueAdapter
    ) -> None:
        fields: list[dict[str, Any]] = [
            {"queue_name": _Mute()}, {"job_type": _Mute()}, {"priority": _Mute()},
            {"max_retries": _Mute()}, {"id": _Mute()}, {"created_by": _Mute()},
            {"payload": {"x": _Mute()}}, {"metadata": _Mute()}, {"scheduled_at": _Mute()},
            {"scheduled_at": datetime(2031, 1, 1, tzinfo=_Nowhere())},
        ]  # fmt: skip
        odd = [make_job(**one) for one in fields]
        created = await queue.enqueue_many([make_job(), *odd, make_job()])
        kinds = [type(outcome.error) for outcome in created]
        assert kinds == [type(None), *[ValidationError] * len(odd), type(None)]
        assert (await queue.get_queue_stats("default")).pending_count == 2

    async def test_a_value_that_shows_itself_as_another_is_stored_as_what_it_is(
        self, queue: JobQueueAdapter
    ) -> None:
        job = make_job(id=_Masked(int=7), priority=_Loud(5), max_retries=_Loud(2))
        [one, other] = await queue.enqueue_many([job, make_job(created_by=_Masked(int=8))])
        assert (one.error, other.error) == (None, None)
        found = await queue.get_job(UUID(int=7))
        assert found is not None
        assert (repr(found.priority), repr(found.max_retries)) == ("5", "2")
        assert other.job is not None
        assert other.job.created_by == UUID(int=8)
