"""Who created a job, where no store is asked: in a worker, in the audit log, in what is written."""

from __future__ import annotations

from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.adapters.audit.memory_audit import MemoryAuditAdapter
from portico.adapters.job_queue import MemoryJobQueueAdapter
from portico.kits.job import JobService
from portico.kits.job.execution import job_of
from portico.kits.job.job_audit import JobAudit
from portico.ports.audit import AuditQuery
from portico.ports.creators import (
    BEGINNING,
    as_given,
    id_of,
    portable,
    with_creator,
    without_creator,
)
from portico.ports.draft import Draft
from portico.ports.job import Job, JobStatus
from portico.testing.jobs import make_job

_METADATA = [b"{}", b'{"a":1}', b'{"a":{"b":"}"},"c":[]}', b'{"a":"\xc3\xa4"}', b'{"damaged":\xff']


@given(st.text(min_size=1, max_size=200), st.sampled_from(_METADATA))
def test_a_text_is_put_into_metadata_and_taken_out_again(text: str, metadata: bytes) -> None:
    stored = with_creator(metadata, text)
    assert without_creator(stored) == (text, metadata)
    assert without_creator(stored[:BEGINNING])[0] == text
    assert id_of(text) == id_of(text)


@pytest.mark.parametrize(
    "metadata",
    [
        *_METADATA, b"", b'{"portico.created_by":', b'{"portico.created_by":5}',
        b'{"portico.created_by":"\xff"}', b'{"portico.created_by": "a"}',
    ],
)  # fmt: skip
def test_metadata_without_a_text_of_ours_are_left_as_they_are(metadata: bytes) -> None:
    assert without_creator(metadata) == (None, metadata)
    assert with_creator(metadata, None) == with_creator(metadata, uuid4()) == metadata


async def test_a_handler_sees_the_text_and_the_metadata_as_given() -> None:
    queue = MemoryJobQueueAdapter()
    jobs = JobService(queue)
    for metadata in ({"m": 1}, {}):
        await jobs.create_job("a.b", {}, created_by="ann@example.org", metadata=metadata)
        [lease] = (await queue.exchange((), ("default",), 1)).leases
        job = job_of(lease)
        assert (job.created_by, job.metadata) == ("ann@example.org", metadata)


async def test_the_audit_log_tells_a_text_in_its_details_and_a_uuid_as_the_user() -> None:
    audit, queue = MemoryAuditAdapter(), MemoryJobQueueAdapter()
    jobs = JobService(queue, audit=audit)
    ann = uuid4()
    for by in ("bob", ann):
        await jobs.create_job("a.b", {}, created_by=by)
        [lease] = (await queue.exchange((), ("default",), 1)).leases
        await JobAudit(audit).settled(lease, JobStatus.COMPLETED, None)
    events = await audit.search_events(AuditQuery())
    told = [(event.user_id, event.details.get("created_by")) for event in events]
    assert sorted(told, key=repr) == sorted([(None, "bob")] * 2 + [(ann, None)] * 2, key=repr)


def test_a_job_may_be_encoded_and_decoded_by_its_types() -> None:
    for creator in ("ann", uuid4(), None):
        job = make_job(created_by=creator, metadata={"m": 1})
        body = msgspec.json.encode(portable(job))
        assert as_given(msgspec.json.decode(body, type=Job)) == job


def test_a_draft_that_came_from_another_process_may_have_a_text() -> None:
    full = {"x": "y" * 65_000}
    draft = Draft.of(make_job(created_by="😀" * 200, metadata=full))
    draft.check()
    assert isinstance(draft.created_by, UUID)
