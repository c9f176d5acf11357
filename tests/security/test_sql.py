"""No text of a caller becomes SQL."""

from __future__ import annotations

import ast
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest

from portico import compose
from portico.exceptions import ValidationError
from portico.ports.draft import Draft
from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import Failure, JobFilter, Lease, Settlement, Transition
from tests.support.jobs import make_job

pytestmark = pytest.mark.security("S9")

INJECTIONS = ["'; DROP TABLE portico_jobs; --", '" OR 1=1 --', "default' OR '1'='1", "%", "*",
              "default\x00", "default'/*", "') UNION SELECT sql FROM sqlite_master --"]  # fmt: skip


@pytest.fixture
async def stored(tmp_path: Path) -> AsyncIterator[JobQueueAdapter]:
    queue = compose.job_queue(f"sqlite:///{tmp_path / 'jobs.db'}")
    await queue.initialize()
    await queue.enqueue(make_job())
    yield queue
    await queue.close()
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as database, database:
        assert database.execute("SELECT count(*) FROM portico_jobs").fetchone() == (1,)
    database.close()


@pytest.mark.parametrize("text", INJECTIONS)
async def test_a_name_that_is_sql_finds_nothing_and_changes_nothing(
    stored: JobQueueAdapter, text: str
) -> None:
    for wanted in (JobFilter(queue_name=text), JobFilter(job_type=text)):
        assert (await stored.list_jobs(wanted)).jobs == []
        terminal = JobFilter(
            queue_name=wanted.queue_name, job_type=wanted.job_type,
            statuses=(JobStatus.COMPLETED,), older_than=0.0,
        )  # fmt: skip
        assert await stored.purge(terminal) == 0
    assert (await stored.exchange((), (text,), 5)).leases == []
    assert (await stored.get_queue_stats("default")).total == 1
    for field in ("queue_name", "job_type"):
        with pytest.raises(ValidationError):
            await stored.enqueue(make_job(**{field: text}))


@pytest.mark.parametrize("text", INJECTIONS)
async def test_a_text_that_is_sql_is_stored_as_it_is(stored: JobQueueAdapter, text: str) -> None:
    (lease,) = (await stored.exchange((), ("default",), 1)).leases
    await stored.reject(lease.job_id, error_message=text)
    record = await stored.inspect(lease.job_id)
    assert record is not None
    assert record.job.error_message == text.replace("\x00", "\ufffd")
    late = Settlement(uuid4().bytes, text.encode(), Transition.COMPLETE)
    (receipt,) = (await stored.exchange([late], (), 0)).receipts
    assert receipt.status is None


FOLDER = Path(__file__).parents[2] / "portico" / "adapters"


DATA = {*Draft._fields, *Lease._fields, *Settlement._fields, *Failure._fields, "older_than", "url"}
"""What comes from callers, workers and rows."""


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda path: path.name)
def test_no_value_is_written_into_a_statement(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr) and _is_statement(node):
            for value in node.values:
                if isinstance(value, ast.FormattedValue):
                    assert not _names_in(value) & DATA, f"{path.name}:{node.lineno}"


def _names_in(tree: ast.AST) -> set[str]:
    return {
        name
        for node in ast.walk(tree)
        for name in (getattr(node, "id", None), getattr(node, "attr", None))
        if name is not None
    }


def _is_statement(node: ast.JoinedStr) -> bool:
    texts = [part.value for part in node.values if isinstance(part, ast.Constant)]
    words = "".join(map(str, texts)).lstrip().split(" ")
    return words[0] in {"SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "CREATE", "PRAGMA"}
