"""A row that somebody damaged costs its own job, and no other one."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portico.adapters.job_queue import DatabaseJobQueueAdapter
from portico.adapters.job_queue._rows import UNREADABLE
from portico.adapters.job_queue._sqlite.driver import opened
from portico.exceptions import DatabaseError
from portico.ports.draft import Draft
from portico.ports.job import JobStatus
from portico.ports.leasing import JobFilter, Lease, Settlement, Transition
from tests.support.damage import UNCHECKED, any_type_goes
from tests.support.jobs import make_job

DOCUMENTS = ("payload", "metadata", "result")
TEXTS = ("error_type", "error_message", "traceback")
VICTIM = 1
"""Its place among the jobs: sound ones come before it and after it."""


class Text(bytes):
    """Bytes that are put into the column as text, whether they are UTF-8 or not."""


ODD = [
    b"", b"\0", b"\xff\xfe", b"{", b"[]", b"null", b'"text"', b"{}", b'{"a":1}', b"\xed\xa0\x80",
    b'{"a":"\\ud800"}', b'{"a":NaN}', b"[" * 100_000, b'{"a":' * 5_000, b"x" * 1_000_000,
    b"1" * 5_000,
]  # fmt: skip
NUMBERS = [0, 1, -1, 2**62, 0.5, float("inf"), -0.0]

binaries = st.one_of(st.sampled_from(ODD), st.binary(max_size=60))
values = st.one_of(
    binaries,
    binaries.map(Text),
    st.text(max_size=60).map(lambda text: Text(text.encode("utf-8", "surrogatepass"))),
    st.sampled_from(NUMBERS),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.none(),
)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def damage(queue: DatabaseJobQueueAdapter, job_id: UUID, column: str, value: object) -> None:
    """Write a value into a column, as another program could; with the library of the queue, for a
    second one in one process would take the first one's locks away."""
    place = queue._store._place
    if value is None and column in ("payload", "metadata"):
        value = b""  # the schema refuses NULL there
    placeholder = "CAST(? AS TEXT)" if isinstance(value, Text) else "?"
    connection = opened(place.path, 5.0, alone=place.alone)
    connection.execute(UNCHECKED)
    connection.execute(
        f"UPDATE portico_jobs SET {column} = {placeholder} WHERE id = ?",
        (bytes(value) if isinstance(value, bytes) else value, job_id.bytes),
    )
    connection.close()


async def said_or_answered(question: Awaitable[Any], job_id: UUID) -> Any:
    """The answer; an error must be one of ours, and name the job."""
    try:
        return await question
    except DatabaseError as error:
        if str(job_id) not in error.message:
            raise
        return None


Check = Callable[[DatabaseJobQueueAdapter, list[UUID]], Awaitable[None]]


async def with_jobs(folder: Path, alone: bool, check: Check) -> None:
    """Run a check on an empty file with three new jobs."""
    path = folder / "jobs.db"
    for file in folder.iterdir():
        file.unlink()
    queue = DatabaseJobQueueAdapter(f"sqlite:///{path}?durability=normal", alone=alone)
    with any_type_goes():
        await queue.initialize()
    try:
        drafts = [Draft.of(make_job(payload={"n": n})) for n in range(3)]
        await queue.insert(drafts)
        await check(queue, [draft.id for draft in drafts])
    finally:
        await queue.close()


async def all_can_be_seen(queue: DatabaseJobQueueAdapter, ids: list[UUID]) -> None:
    """Everything that reads: the sound jobs as ever, the damaged one with words or an error."""
    victim = ids[VICTIM]
    listed = (await queue.list_jobs(JobFilter(), 10)).jobs
    assert [job.id for job in listed] == ids[::-1]
    record = await queue.inspect(victim)
    assert record is not None
    for text in (record.error_type, record.job.error_message, record.traceback):
        assert text is None or isinstance(text, str)
    assert isinstance(record.job.payload, dict)
    found = await said_or_answered(queue.get_job(victim), victim)
    if found is None:
        assert str(victim) in record.job.metadata[UNREADABLE]
    else:
        assert found == record.job
    result = await said_or_answered(queue.get_result(victim), victim)
    assert result is None or isinstance(result, dict)
    for job_id in ids[:VICTIM] + ids[VICTIM + 1 :]:
        sound = await queue.get_job(job_id)
        assert sound is not None
        assert sound.payload == {"n": ids.index(job_id)}
    assert (await queue.get_queue_stats("default")).total == len(ids)
    assert (await queue.all_stats())["default"].total == len(ids)


def assert_typed(lease: Lease) -> None:
    """What a worker is handed has the types it expects, or it could not be read there."""
    assert isinstance(lease.payload, bytes)
    assert isinstance(lease.metadata, bytes)
    assert lease.error_message is None or isinstance(lease.error_message, str)
    (lease.error_message or "").encode()


EITHER_LIBRARY = pytest.mark.parametrize("alone", [False, True], ids=["sqlite3", "apsw"])
FEW = settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@EITHER_LIBRARY
@FEW
@given(column=st.sampled_from([*DOCUMENTS, *TEXTS]), value=values)
def test_a_damaged_row_hides_no_other_and_does_not_stop_leasing(
    folder: Path, alone: bool, column: str, value: object
) -> None:
    async def check(queue: DatabaseJobQueueAdapter, ids: list[UUID]) -> None:
        damage(queue, ids[VICTIM], column, value)
        await all_can_be_seen(queue, ids)
        leases = (await queue.exchange((), ("default",), 10)).leases
        assert [lease.job_id for lease in leases] == ids
        for lease in leases:
            assert_typed(lease)
        ends = [Settlement(lease.id, lease.token, Transition.RETRY) for lease in leases]
        await queue.exchange(ends, (), 0)
        await all_can_be_seen(queue, ids)
        renewed = (await queue.exchange((), ("default",), 10)).leases
        assert len(await queue.renew(renewed)) == len(ids)
        await queue.exchange([Settlement(i.bytes, None, Transition.FAIL) for i in ids], (), 0)
        assert await queue.redrive(ids) == ids
        await all_can_be_seen(queue, ids)

    asyncio.run(with_jobs(folder, alone, check))


@EITHER_LIBRARY
@FEW
@given(column=st.sampled_from(DOCUMENTS[:2]), value=values)
def test_a_job_whose_documents_are_damaged_is_dead_lettered_and_the_next_one_is_served(
    folder: Path, alone: bool, column: str, value: object
) -> None:
    async def check(queue: DatabaseJobQueueAdapter, ids: list[UUID]) -> None:
        damage(queue, ids[VICTIM], column, value)
        served = []
        while job := await queue.dequeue("default", timeout=0):
            served.append(job.id)
        record = await queue.inspect(ids[VICTIM])
        assert record is not None
        if ids[VICTIM] in served:
            assert served == ids
            assert record.job.status is JobStatus.RUNNING
        else:
            assert served == [ids[0], ids[2]]
            assert record.job.status is JobStatus.DEAD_LETTER
            assert record.error_type == "PayloadInvalid"
            assert "cannot be decoded" in (record.job.error_message or "")

    asyncio.run(with_jobs(folder, alone, check))


@EITHER_LIBRARY
@FEW
@given(value=values)
def test_a_damaged_result_is_told_for_its_own_job_only(
    folder: Path, alone: bool, value: object
) -> None:
    async def check(queue: DatabaseJobQueueAdapter, ids: list[UUID]) -> None:
        leases = (await queue.exchange((), ("default",), 10)).leases
        await queue.exchange(
            [Settlement(one.id, one.token, Transition.COMPLETE, b'{"ok":1}') for one in leases],
            (),
            0,
        )
        damage(queue, ids[VICTIM], "result", value)
        await all_can_be_seen(queue, ids)
        record = await queue.inspect(ids[VICTIM])
        assert record is not None
        assert isinstance(record.result, dict)
        result = await said_or_answered(queue.get_result(ids[VICTIM]), ids[VICTIM])
        assert (result is None) is (UNREADABLE in record.result)
        assert await queue.get_result(ids[0]) == {"ok": 1}

    asyncio.run(with_jobs(folder, alone, check))
