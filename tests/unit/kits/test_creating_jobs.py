"""What `create_job` and `create_jobs` take, and what they say of what they do not."""

from __future__ import annotations

import inspect
from collections import UserDict
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from portico import compose
from portico.exceptions import ConflictError, ValidationError
from portico.kits.job.job_service import JobService
from portico.kits.job.within import JobsWithin, JobsWithinSync
from portico.ports.job import Job
from portico.ports.job_creator import JobCreator
from portico.ports.job_options import OPTIONS

GOOD: dict[str, Any] = {"job_type": "a.b", "payload": {}}


class EvilItems(dict[str, Any]):
    def items(self) -> Any:
        raise RuntimeError("evil")


class EvilKeys(UserDict[str, Any]):
    def __iter__(self) -> Any:
        raise RuntimeError("evil")


class BadZone(tzinfo):
    def utcoffset(self, _: datetime | None) -> timedelta:
        return timedelta(hours=25)


circle: dict[str, Any] = {}
circle["me"] = circle

REFUSED = {
    "metadata is text, and there is a limit": {**GOOD, "metadata": "x", "job_timeout": 5},
    "metadata is a list": {**GOOD, "metadata": [], "job_timeout": 5},
    "metadata is a number": {**GOOD, "metadata": 7, "kill_grace": 5},
    "the type is a list": {**GOOD, "job_type": ["a.b"]},
    "nothing": None,
    "a text": "x",
    "a list": [1],
    "a number": 5,
    "a key that is no text": {1: 2, **GOOD},
    "a payload that cannot be read": {**GOOD, "payload": EvilItems(a=1)},
    "a payload without keys to read": {**GOOD, "payload": EvilKeys(a=1)},
    "arguments that cannot be read": EvilKeys(GOOD),
    "an impossible time zone": {**GOOD, "scheduled_at": datetime(2030, 1, 1, tzinfo=BadZone())},
    "a date": {**GOOD, "scheduled_at": date(2030, 1, 1)},
    "a duration": {**GOOD, "scheduled_at": timedelta(5)},
    "a text for an instant": {**GOOD, "scheduled_at": "2030-01-01T00:00Z"},
    "the last naive instant": {**GOOD, "scheduled_at": datetime.max},  # noqa: DTZ901
    "the first naive instant": {**GOOD, "scheduled_at": datetime.min},  # noqa: DTZ901
    "the last instant": {**GOOD, "scheduled_at": datetime.max.replace(tzinfo=UTC)},
    "a payload that contains itself": {**GOOD, "payload": circle},
    "a fraction for a priority": {**GOOD, "priority": 1.5},
    "a limit that is no number": {**GOOD, "job_timeout": float("nan")},
    "a limit without bounds": {**GOOD, "job_timeout": 10**400},
    "a limit as a duration": {**GOOD, "job_timeout": timedelta(seconds=5)},
    "bytes for an id": {**GOOD, "job_id": b"1" * 16},
    "a number for an id": {**GOOD, "job_id": 5},
    "a megabyte for an id": {**GOOD, "job_id": "x" * 10**6},
    "bytes for a payload": {**GOOD, "payload": b"{}"},
    "a misspelt option": {**GOOD, "scheduled": None},
}


@pytest.fixture(params=["memory", "sqlite"])
async def jobs(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[JobService]:
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path / 'jobs.db'}"
    async with compose.job_service(url) as service:
        yield service


async def test_no_bad_item_keeps_the_others_out_and_each_is_told_of(jobs: JobService) -> None:
    many: list[Any] = [each for bad in REFUSED.values() for each in (GOOD, bad)]
    outcomes = await jobs.create_jobs([*many, GOOD], return_exceptions=True)
    assert [outcome.job is None for outcome in outcomes] == [*[False, True] * len(REFUSED), False]
    errors = dict(zip(REFUSED, [outcome.error for outcome in outcomes[1::2]], strict=True))
    assert {why: type(error) for why, error in errors.items()} == dict.fromkeys(
        REFUSED, ValidationError
    )
    assert all(0 < len(str(error)) < 500 for error in errors.values())
    assert (await jobs.get_job_stats()).pending_count == len(REFUSED) + 1


async def test_one_bad_job_by_itself_is_refused_alike(jobs: JobService) -> None:
    keywords = [bad for bad in REFUSED.values() if isinstance(bad, dict) and 1 not in bad]
    for arguments in keywords:
        with pytest.raises(ValidationError):
            await jobs.create_job(**arguments)
    assert len(keywords) > len(REFUSED) / 2
    assert await jobs.all_stats() == {}


async def test_a_refused_item_raises_when_the_others_are_stored(jobs: JobService) -> None:
    twin = uuid4()
    with pytest.raises(ExceptionGroup, match="2 of 4 jobs were refused, the other 2") as caught:
        await jobs.create_jobs([
            {**GOOD, "job_id": twin}, {**GOOD, "priority": "high"}, GOOD, {**GOOD, "job_id": twin},
        ])  # fmt: skip
    assert [(type(error), error.details["index"]) for error in caught.value.exceptions] == [
        (ValidationError, 1), (ConflictError, 3),
    ]  # fmt: skip
    assert "jobs[1]: priority is 'high'" in str(caught.value.exceptions[0])
    assert (await jobs.get_job_stats()).pending_count == 2


async def test_without_a_refusal_the_jobs_are_returned(jobs: JobService) -> None:
    created = await jobs.create_jobs([GOOD, GOOD])
    assert [outcome.job for outcome in created] == [
        await jobs.get_job(outcome.job.id) for outcome in created if outcome.job
    ]


class OneByOne(JobCreator):
    """A creator of an application's own, with the one method that it must have."""

    def __init__(self, service: JobService) -> None:
        self._service = service

    async def create_job(self, *args: Any, **options: Any) -> Job:
        return await self._service.create_job(*args, **options)


async def test_every_creator_has_create_jobs_with_the_same_answers(jobs: JobService) -> None:
    creator = OneByOne(jobs)
    made, refused = await creator.create_jobs(
        [GOOD, {**GOOD, "priority": 1.5}], return_exceptions=True
    )
    assert (made.job is None, type(refused.error)) == (False, ValidationError)
    with pytest.raises(ExceptionGroup, match="1 of 2 jobs"):
        await creator.create_jobs([GOOD, {**GOOD, "priority": 1.5}])


@pytest.mark.parametrize(
    "misspelt", ["schedule_at", "max_retry", "jobid", "job_timout", "que_name"]
)
async def test_a_misspelt_option_is_refused_with_the_nearest_name(
    jobs: JobService, misspelt: str
) -> None:
    right = {"schedule_at": "scheduled_at", "max_retry": "max_retries", "jobid": "job_id",
             "job_timout": "job_timeout", "que_name": "queue_name"}[misspelt]  # fmt: skip
    misspelt_options: dict[str, Any] = {misspelt: 1}
    with pytest.raises(ValidationError, match=f"{misspelt}.*did you mean '{right}'"):
        await jobs.create_job("a.b", {}, **misspelt_options)


@pytest.mark.parametrize("creator", [JobCreator, JobService, JobsWithin, JobsWithinSync])
def test_help_names_every_option_of_create_job(creator: Any) -> None:
    shown = inspect.signature(creator.create_job).parameters
    assert list(shown) == ["self", "job_type", "payload", "queue_name", "priority", *OPTIONS]
    assert shown["max_retries"].annotation == "int"


async def test_metadata_that_is_none_is_none_at_all(jobs: JobService) -> None:
    assert (await jobs.create_job("a.b", {}, metadata=None)).metadata == {}
    assert (await jobs.create_job("a.b", {}, metadata=None, job_timeout=5)).metadata == {
        "job_timeout": 5
    }
