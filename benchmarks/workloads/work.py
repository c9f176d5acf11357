"""The work items, and how one is run: by the bundled handlers, whoever calls them.

`prepare` makes a folder in which items can be run, `items` lists them, `run_item` runs one in this
process. Items do not depend on each other and may run in any order, several at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from portico import examples
from portico.examples.data_import_handler import DataImportHandler
from portico.examples.demo.plan import IMPORT, REPORT, ROWS, all_reports
from portico.examples.imports.source import local_copy, packaged
from portico.examples.report_files import ReportFiles
from portico.examples.report_handler import ReportHandler
from portico.ports.job import Job, JobResult
from portico.ports.job_creator import JobCreator
from portico.ports.job_handler import JobHandler

APP = "benchmarks.workloads.work:app"
CHUNK = 10_000
_WHOLE = "whole"

examples.preload()  # in the process that forks workers, whichever makes them


class Item(NamedTuple):
    """One piece of work: a job type and its payload."""

    job_type: str
    payload: Mapping[str, Any]


class _Orders(JobCreator):
    """Keeps what the import would create next, in place of creating it."""

    def __init__(self) -> None:
        self.payloads: list[Mapping[str, Any]] = []

    async def create_job(
        self,
        job_type: str,
        payload: Mapping[str, Any],
        queue_name: str = "default",
        priority: int = 0,
        **options: Any,
    ) -> Job:
        self.payloads.append(payload)
        return Job(uuid4(), queue_name, job_type, dict(payload))


class _NoNetwork:
    def download(self, url: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        raise RuntimeError(f"nobody should fetch {url}")


def _handlers(orders: JobCreator) -> dict[str, JobHandler]:
    return {
        IMPORT: DataImportHandler(orders, _NoNetwork()),
        REPORT: ReportHandler(ReportFiles()),
    }


app = _handlers(_Orders())


def prepare(folder: Path) -> list[Item]:
    """Unpack the flights, and import all tables, for the reports; the chunks of flights as items.

    Each chunk goes into an import of its own, so that they do not wait for each other's locks, and
    knows the byte where it starts.
    """
    source = asyncio.run(local_copy(packaged("flights"), folder / "flights.csv", _NoNetwork()))
    for dataset in ROWS:
        if dataset != "flights":
            _import_all(folder, {"dataset": dataset})
    chunks = _import_all(folder, {"dataset": "flights", "source_url": source.absolute().as_uri()})
    return [
        Item(IMPORT, {**payload, "import_id": f"chunk-{number}"})
        for number, payload in enumerate(chunks)
    ]


def _import_all(folder: Path, source: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Import a table chunk by chunk; the payloads of the chunks."""
    orders = _Orders()
    handler = _handlers(orders)[IMPORT]
    first = {"import_id": _WHOLE, "output": str(folder), "chunk_size": CHUNK, **source}
    payloads: list[Mapping[str, Any]] = [first]
    for payload in payloads:  # which grows as long as a chunk was full
        asyncio.run(handled(Item(IMPORT, payload), handler))
        payloads += orders.payloads[len(payloads) - 1 :]
    return payloads


def items(folder: Path, chunks: Sequence[Item], reports: int) -> list[Item]:
    """The chunks, and the first so many reports; long ones are not last."""
    wanted = [
        Item(
            REPORT,
            {
                "import_id": _WHOLE, "report_type": report_type, "subject": subject,
                "output": str(folder),
            },
        )
        for report_type, subject in all_reports()[:reports]
    ]  # fmt: skip
    return [*wanted, *chunks]


def run_item(item: Item) -> dict[str, Any]:
    """Run one item in this process; what its handler returned.

    Raises:
        RuntimeError: it did not succeed.
    """
    return asyncio.run(handled(item)).result_data


async def handled(item: Item, handler: JobHandler | None = None) -> JobResult:
    """Run one item on this loop.

    Raises:
        RuntimeError: it did not succeed.
    """
    job = Job(uuid4(), "default", item.job_type, dict(item.payload))
    result = await (handler or app[item.job_type]).handle(job)
    if not result.success:
        raise RuntimeError(f"{item.job_type} failed: {result.error}")
    return result


def clear(folder: Path) -> None:
    """Remove what items have written, so that the next run writes it anew."""
    written = [*folder.glob("imports/chunk-*"), *folder.glob("reports/*")]
    for path in written:
        path.unlink()
