from __future__ import annotations

import gzip
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from portico.examples.data_import_handler import DataImportHandler
from portico.exceptions import QueueConnectionError, ValidationError
from portico.ports.job import Job
from tests.support.jobs import make_job
from tests.unit.examples.conftest import Orders

FIVE = "name,score\na,1\nb,2\nc,3\nd,4\ne,5\n"


class NoNetwork:
    def download(self, url: str) -> None:
        raise AssertionError(f"nobody should fetch {url}")


@pytest.fixture
def handler(orders: Orders) -> DataImportHandler:
    return DataImportHandler(orders, NoNetwork())


@pytest.fixture
def request_of(csv_file: Callable[[str], str], tmp_path: Path) -> Callable[..., Job]:
    def build(text: str = FIVE, **fields: Any) -> Job:
        payload = {"source_url": csv_file(text), "output": str(tmp_path), "chunk_size": 2}
        return make_job(job_type="data.import", payload={**payload, **fields})

    return build


def rows(tmp_path: Path, import_id: object) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(tmp_path / "imports" / f"{import_id}.db")) as database:
        return database.execute("SELECT * FROM records ORDER BY row").fetchall()


async def run_chain(handler: DataImportHandler, orders: Orders, first: Job) -> list[dict[str, Any]]:
    results, queue = [], [first]
    while queue:
        result = await handler.handle(queue.pop())
        assert result.success
        results.append(result.result_data)
        queue = [job for job in orders.jobs if job.job_type == "data.import"][len(results) - 1 :]
    return results


async def test_a_full_chunk_enqueues_the_next_one(
    handler: DataImportHandler, orders: Orders, request_of: Callable[..., Job]
) -> None:
    job = request_of()

    result = await handler.handle(job)

    assert result.success
    assert result.result_data["records_imported"] == 2
    assert not result.result_data["complete"]
    assert [(j.job_type, j.payload["offset"]) for j in orders.jobs] == [("data.import", 2)]
    assert orders.jobs[0].payload["import_id"] == str(job.id)


async def test_the_next_chunk_keeps_the_queue_the_priority_and_the_user(
    handler: DataImportHandler, orders: Orders, request_of: Callable[..., Job]
) -> None:
    user = uuid4()
    job = request_of()
    job = Job(
        **{
            **job.__dict__,
            "queue_name": "slow",
            "priority": 7,
            "created_by": user,
            "metadata": {"tenant": "x"},
        }
    )

    await handler.handle(job)

    following = orders.jobs[0]
    assert (following.queue_name, following.priority) == ("slow", 7)
    assert (following.created_by, following.metadata) == (user, {"tenant": "x"})


@pytest.mark.parametrize(("size", "chunks"), [(1, 6), (2, 3), (5, 2), (100, 1)])
async def test_a_chain_imports_every_row_once_whatever_the_chunk_size(
    handler: DataImportHandler,
    orders: Orders,
    request_of: Callable[..., Job],
    tmp_path: Path,
    size: int,
    chunks: int,
) -> None:
    results = await run_chain(handler, orders, request_of(import_id="x", chunk_size=size))

    assert len(results) == chunks
    assert [result["complete"] for result in results] == [False] * (chunks - 1) + [True]
    assert rows(tmp_path, "x") == [(n, "abcde"[n], str(n + 1)) for n in range(5)]


async def test_a_chunk_that_runs_twice_leaves_rows_and_jobs_as_if_it_had_run_once(
    handler: DataImportHandler, orders: Orders, request_of: Callable[..., Job], tmp_path: Path
) -> None:
    job = request_of(import_id="x")

    first = await handler.handle(job)
    second = await handler.handle(job)

    assert first.result_data["records_imported"] == second.result_data["records_imported"] == 2
    assert len(rows(tmp_path, "x")) == 2
    assert len(orders.jobs) == 1


async def test_follow_up_jobs_are_created_once_by_the_last_chunk(
    handler: DataImportHandler, orders: Orders, request_of: Callable[..., Job]
) -> None:
    then = [{"job_type": "report.generate", "payload": {"n": n}, "priority": n} for n in range(3)]

    await run_chain(handler, orders, request_of(then=then))
    last = [job for job in orders.jobs if job.job_type == "data.import"][-1]
    await handler.handle(last)

    reports = [job for job in orders.jobs if job.job_type == "report.generate"]
    assert [(job.payload, job.priority) for job in reports] == [({"n": n}, n) for n in range(3)]


async def test_an_unpacked_source_is_removed_when_the_import_is_complete(
    handler: DataImportHandler, orders: Orders, tmp_path: Path
) -> None:
    packed = tmp_path / "source.csv.gz"
    packed.write_bytes(gzip.compress(FIVE.encode()))
    job = make_job(
        job_type="data.import",
        payload={"source_url": packed.as_uri(), "output": str(tmp_path), "chunk_size": 3},
    )

    await handler.handle(job)
    sources = tmp_path / "imports" / "sources"
    assert len(list(sources.iterdir())) == 1
    await handler.handle(orders.jobs[0])

    assert list(sources.iterdir()) == []
    assert len(rows(tmp_path, job.id)) == 5


async def test_bad_rows_are_counted_and_shown_and_the_good_ones_kept(
    handler: DataImportHandler, request_of: Callable[..., Job]
) -> None:
    text = "carrier,name\nAA,American\nXX,NA\nUA,United\nbroken\n"

    result = await handler.handle(request_of(text, dataset="airlines", chunk_size=10))

    assert result.success
    assert result.result_data["records_imported"] == 2
    assert result.result_data["records_rejected"] == 2
    assert result.result_data["rejections"] == [
        "row 1: name is missing",
        "row 3: 1 fields instead of 2",
    ]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"source_url": None}, "source_url is required, or one of the datasets"),
        ({"dataset": "trains"}, "Invalid enum value 'trains' - at `$.dataset`"),
        ({"format": "parquet"}, "Invalid enum value 'parquet' - at `$.format`"),
        ({"offset": -1}, "Expected `int` >= 0 - at `$.offset`"),
        ({"chunk_size": 0}, "Expected `int` >= 1 - at `$.chunk_size`"),
        ({"chunk_size": "all"}, "Expected `int`, got `str` - at `$.chunk_size`"),
        ({"import_id": "../x"}, "import_id is '../x'"),
        ({"source_url": "ftp://x/y.csv"}, "source_url is 'ftp://x/y.csv'"),
        ({"dataset": "planes"}, "planes: the source has no column"),
    ],
)
async def test_a_payload_that_is_not_acceptable_fails_for_good_and_says_why(
    handler: DataImportHandler,
    orders: Orders,
    request_of: Callable[..., Job],
    fields: dict[str, Any],
    message: str,
) -> None:
    result = await handler.handle(request_of(**fields))

    assert not result.success
    assert not result.retryable
    assert isinstance(result.error, ValidationError)
    assert message in str(result.error)
    assert orders.jobs == []


async def test_an_empty_source_is_refused(
    handler: DataImportHandler, request_of: Callable[..., Job]
) -> None:
    result = await handler.handle(request_of(""))

    assert str(result.error) == "the source is empty: it has no header"


async def test_an_unreachable_queue_is_raised_and_the_retry_continues_the_chain(
    handler: DataImportHandler,
    orders: Orders,
    request_of: Callable[..., Job],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def refuse(*args: Any, **options: Any) -> Job:
        raise QueueConnectionError("down")

    job = request_of(import_id="x")
    with monkeypatch.context() as patched:
        patched.setattr(orders, "create_job", refuse)
        with pytest.raises(QueueConnectionError):
            await handler.handle(job)

    assert (await handler.handle(job)).success
    assert len(rows(tmp_path, "x")) == 2
    assert len(orders.jobs) == 1
