from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from portico.kits.job.decoding import limits_in
from portico.kits.job.execution import job_of
from portico.ports.job import Job, JobStatus
from portico.ports.time_limits import TimeLimits
from tests.unit.kits.parts import make_lease


def micros(instant: datetime) -> int:
    return round(instant.timestamp()) * 1_000_000 + instant.microsecond


def test_a_lease_opens_into_the_very_job_that_was_stored():
    job_id, user = uuid4(), uuid4()
    lease = make_lease(
        id=job_id.bytes,
        payload=b'{"n":[1,2.5,"\xc3\xa4",null,100000000000000000000]}',
        metadata=b'{"tag":"x"}',
        priority=7,
        max_retries=5,
        retry_count=2,
        scheduled_at=micros(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        started_at=micros(datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC)) + 123_456,
        created_at=micros(datetime(2026, 1, 1, tzinfo=UTC)),
        created_by=user.bytes,
        error_message="last time",
    )
    assert job_of(lease) == Job(
        id=job_id,
        queue_name="default",
        job_type="test.job",
        payload={"n": [1, 2.5, "ä", None, 10**20]},
        priority=7,
        max_retries=5,
        retry_count=2,
        scheduled_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        started_at=datetime(2026, 1, 2, 3, 4, 6, 123_456, tzinfo=UTC),
        status=JobStatus.RUNNING,
        error_message="last time",
        created_by=user,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        metadata={"tag": "x"},
    )


def test_the_job_is_a_job_in_every_respect():
    lease = make_lease()
    job = job_of(lease)
    assert list(job.__dict__) == list(Job(lease.job_id, "q", "t", {}).__dict__)
    assert (str(job.id), hash(job.id)) == (str(lease.job_id), hash(lease.job_id))
    assert job.id.is_safe is lease.job_id.is_safe
    assert replace(job, priority=3).priority == 3
    with pytest.raises(FrozenInstanceError):
        job.priority = 3  # type: ignore[misc]


def test_two_jobs_share_no_documents():
    lease = make_lease()
    assert job_of(lease).payload is not job_of(lease).payload


@pytest.mark.parametrize("year", [1970, 2025, 2111, 2113, 8999])
def test_instants_are_exact_to_the_microsecond(year):
    instant = datetime(year, 6, 7, 8, 9, 10, 999_999, tzinfo=UTC)
    stored = (instant - datetime(1970, 1, 1, tzinfo=UTC)) // datetime.resolution
    assert job_of(make_lease(scheduled_at=stored)).scheduled_at == instant


@pytest.mark.parametrize("field", ["payload", "metadata"])
@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'{"a":}', b"\xff\xfe", b'{"a":' * 70 + b"1" + b"}" * 70]
)
def test_what_cannot_be_decoded_is_refused_by_name(field, body):
    with pytest.raises(ValueError, match=field):
        job_of(make_lease(**{field: body}))


def test_five_thousand_levels_are_refused_and_do_not_recurse():
    with pytest.raises(ValueError, match="nested deeper"):
        job_of(make_lease(payload=b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}"))


def test_no_depth_of_what_is_no_limit_is_one_that_cannot_be_told_of():
    usual = TimeLimits(60.0, 5.0)
    for depth in range(1, 1000):
        said = limits_in(b'{"job_timeout":' + b"[" * depth + b"]" * depth + b"}")
        assert usual.narrowed(said) == usual


def test_what_only_the_lenient_decoder_takes_is_taken():
    assert job_of(make_lease(payload=b'{"half":"\\ud800"}')).payload == {"half": "\ud800"}
