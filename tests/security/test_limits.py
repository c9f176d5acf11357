"""Every limit of size and depth, one below it, at it, and one above."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any
from uuid import uuid4

import pytest

from portico import compose
from portico.exceptions import ValidationError
from portico.kits.job import decoding
from portico.kits.job.failures import failure
from portico.ports import document
from portico.ports.draft import Draft
from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import Failure, JobFilter, Lease, Settlement, Transition
from portico.supervisor import framing, wire
from tests.security.conftest import APP
from tests.support.jobs import ended, make_job
from tests.support.supervisors import Place

KIB = 1024
MIB = 1024 * KIB


def object_of(size: int) -> dict[str, str]:
    """A document whose encoding has exactly so many bytes."""
    found = {"x": "x" * (size - len('{"x":""}'))}
    assert len(document.encode(found, "x", 2**30)) == size
    return found


def nested(depth: int) -> dict[str, Any]:
    """A document of so many levels."""
    found: Any = []
    for _ in range(depth - 2):
        found = [found]
    return {"x": found}


def nested_bytes(depth: int) -> bytes:
    return b'{"x":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


@pytest.mark.security("S5")
@pytest.mark.parametrize(("field", "limit"), [("payload", MIB), ("metadata", 64 * KIB)])
def test_documents_of_a_job_are_taken_up_to_the_limit(field: str, limit: int) -> None:
    for size in (limit - 1, limit):
        assert len(getattr(Draft.of(make_job(**{field: object_of(size)})), field)) == size
    with pytest.raises(ValidationError, match=f"{field} has .* over the limit of {limit:,}"):
        Draft.of(make_job(**{field: object_of(limit + 1)}))


@pytest.mark.security("S5")
@pytest.mark.parametrize(("field", "limit"), [("payload", MIB), ("metadata", 64 * KIB)])
def test_documents_that_come_encoded_are_held_to_the_same_limit(field: str, limit: int) -> None:
    draft = Draft.of(make_job())
    for size in (limit - 1, limit):
        draft._replace(**{field: document.encode(object_of(size), field, limit)}).check()
    over = document.encode(object_of(limit + 1), field, 2 * limit)
    with pytest.raises(ValidationError, match=f"over the limit of {limit:,}"):
        draft._replace(**{field: over}).check()


@pytest.mark.security("S5")
def test_a_result_is_taken_up_to_the_limit() -> None:
    for size in (MIB - 1, MIB):
        assert len(document.encode_result(object_of(size))) == size
    with pytest.raises(ValidationError, match="over the limit of 1,048,576"):
        document.encode_result(object_of(MIB + 1))


@pytest.mark.security("S5")
@pytest.mark.parametrize("field", ["queue_name", "job_type"])
def test_names_have_1_to_128_characters_of_few_kinds(field: str) -> None:
    for length in (1, 127, 128):
        Draft.of(make_job(**{field: "n" * length}))
    Draft.of(make_job(**{field: "AZaz09_.:-"}))
    for name in ("", "n" * 129, "a b", "a/b", "ä", "a\n", "a\0", "{a}", "a*", "'; DROP", None, 7):
        with pytest.raises(ValidationError, match=field):
            Draft.of(make_job(**{field: name}))


@pytest.mark.security("S5")
@pytest.mark.parametrize(("place", "limit"), [("message", 8 * KIB), ("traceback", 16 * KIB)])
@pytest.mark.parametrize("letter", ["x", "é", "😀"])
def test_texts_of_an_error_are_kept_up_to_the_limit_in_bytes(
    place: str, limit: int, letter: str
) -> None:
    width = len(letter.encode())
    for size in (limit - width, limit):
        text = letter * (size // width)
        assert getattr(failure("T", "", "")._replace(**{place: text}), place) == text
        assert getattr(failure("T", **_texts(place, text)), place) == text
    cut = getattr(failure("T", **_texts(place, letter * (limit // width) + "x")), place)
    assert limit - 2 * width <= len(cut.encode()) <= limit


def _texts(place: str, text: str) -> dict[str, str]:
    return {"message": "", "traceback": "", place: text}


@pytest.mark.security("S5")
@pytest.mark.parametrize("url", ["memory://", "sqlite:///{}/jobs.db"])
@pytest.mark.parametrize("letter", ["x", "😀"])
@pytest.mark.parametrize("max_retries", [0, 3])
async def test_a_store_bounds_what_any_caller_tells_it_of_an_error(
    url: str, letter: str, max_retries: int, tmp_path: Any
) -> None:
    queue = compose.job_queue(url.format(tmp_path))
    await queue.initialize()
    for transition in (Transition.RETRY, Transition.CRASH, Transition.FAIL):
        job = await queue.enqueue(make_job(queue_name=transition.value, max_retries=max_retries))
        (lease,) = (await queue.exchange((), (transition.value,), 1)).leases
        hostile = Failure(letter * 10_000, letter * 100_000, letter * 100_000 + "the end")
        await queue.exchange(
            [Settlement(lease.id, lease.token, transition, failure=hostile)], (), 0
        )
        record = await queue.inspect(job.id)
        assert record is not None
        assert len((record.error_type or "").encode()) <= 256
        assert len((record.job.error_message or "").encode()) <= 8 * KIB
        assert len((record.traceback or "").encode()) <= 16 * KIB
        assert (record.traceback or "").endswith("the end")
    await queue.close()


@pytest.mark.security("S4")
@pytest.mark.security("S5")
def test_a_failure_that_a_worker_reports_is_cut_before_anything_is_done_with_it() -> None:
    hostile = Failure("T" * MIB, "m" * MIB, "t" * MIB)
    verdict = wire.Ended(1, "Failed", hostile, True, 0.1, False).verdict()
    found: Failure = getattr(verdict, "failure")  # noqa: B009 - of one of several classes
    assert [len(text) for text in found[:3]] == [128, 8 * KIB, 16 * KIB]


@pytest.mark.security("S5")
def test_a_frame_is_taken_up_to_the_limit() -> None:
    limit = 16 * MIB
    for size in (limit - 1, limit):
        assert list(wire.reader_of_worker().feed(size.to_bytes(4, "little"))) == []
    with pytest.raises(framing.FrameError, match="over the limit of 16,777,216"):
        list(wire.reader_of_worker().feed((limit + 1).to_bytes(4, "little")))


@pytest.mark.security("S5")
async def test_the_largest_payload_and_result_go_through_and_one_byte_more_does_not(
    here: Place, queue: JobQueueAdapter
) -> None:
    here.supervisor("--workers", "1", app=APP)
    largest = object_of(MIB - len('{"echo":}'))
    for payload, status in (
        (object_of(MIB), JobStatus.FAILED),  # its result is nine bytes longer than that
        (largest, JobStatus.COMPLETED),
        ({"x": largest["x"] + "x"}, JobStatus.FAILED),
    ):
        job = await queue.enqueue(make_job(job_type="test.fine", payload=payload))
        stored = await ended(queue, job.id)
        assert stored.status is status
        assert status is JobStatus.COMPLETED or "over the limit" in (stored.error_message or "")


@pytest.mark.security("S6")
@pytest.mark.parametrize("encode", [document.encode, document.encode_result])
def test_documents_nest_64_levels_deep_and_no_more(encode: Any) -> None:
    for depth in (63, 64):
        assert document.too_deep(encode(nested(depth), "x")) is False
    for depth in (65, 900, 5000):
        with pytest.raises(ValidationError, match="nested deeper than 64"):
            encode(nested(depth), "x")


@pytest.mark.security("S6")
@pytest.mark.parametrize("field", ["payload", "metadata"])
@pytest.mark.parametrize("depth", [65, 900, 30_000])
def test_what_is_too_deep_never_reaches_a_decoder(
    field: str, depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reached(*_: object) -> None:
        raise AssertionError("it was decoded")

    body = {"payload": b"{}", "metadata": b"{}", field: nested_bytes(depth)}
    monkeypatch.setattr(decoding, "_decode", reached)
    monkeypatch.setattr(document, "decode", reached)
    with pytest.raises(ValueError, match=f"{field} is nested deeper than 64"):
        decoding.job_of(_lease(**body))
    with pytest.raises(ValidationError, match="nested deeper than 64"):
        Draft.of(make_job())._replace(**{field: nested_bytes(depth)}).check()


@pytest.mark.security("S6")
def test_brackets_in_texts_are_no_levels() -> None:
    body = document.encode({"x": '[{"' * 1000 + "\\"}, "payload")
    assert decoding.job_of(_lease(payload=body)).payload == {"x": '[{"' * 1000 + "\\"}


@pytest.mark.security("S6")
async def test_rows_that_are_too_deep_end_in_dead_letters_and_cost_no_worker(
    here: Place, queue: JobQueueAdapter
) -> None:
    jobs = [await queue.enqueue(make_job(job_type="test.fine")) for _ in range(3)]
    with closing(sqlite3.connect(here.folder / "jobs.db")) as database, database:
        for job, depth in zip(jobs, (65, 900, 100_000), strict=True):
            database.execute(
                "UPDATE portico_jobs SET payload = ? WHERE id = ?",
                (nested_bytes(depth), job.id.bytes),
            )
    database.close()
    supervisor = here.supervisor("--workers", "1", "--drain", app=APP)
    assert await supervisor.ended() == 0
    page = await queue.list_jobs(JobFilter())
    for job in jobs:
        (found,) = [listed for listed in page.jobs if listed.id == job.id]
        assert found.status is JobStatus.DEAD_LETTER
        assert "nested deeper than 64" in (found.error_message or "")
    assert not supervisor.events("worker_exited")


def _lease(payload: bytes = b"{}", metadata: bytes = b"{}") -> Lease:
    return Lease(uuid4().bytes, b"t", 1, "q", "t", payload, 0, 3, 0, None, 0, 0, None, metadata,
                 None, False)  # fmt: skip
