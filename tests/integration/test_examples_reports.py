"""Imports of the real tables, and the reports on them."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from contextlib import closing
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from portico.examples.data_import_handler import DataImportHandler
from portico.examples.demo.plan import ROWS
from portico.examples.report_files import ReportFiles
from portico.examples.report_handler import ReportHandler
from portico.ports.job import Job, JobResult
from tests.support.jobs import make_job
from tests.unit.examples.conftest import Orders


class NoNetwork:
    def download(self, url: str) -> None:
        raise AssertionError(f"nobody should fetch {url}")


async def import_all(output: Path, dataset: str, chunk_size: int) -> list[dict[str, Any]]:
    """Run an import's chain to its end."""
    orders, results = Orders(), []
    handler = DataImportHandler(orders, NoNetwork())
    payload = {
        "dataset": dataset, "import_id": "nyc", "output": str(output), "chunk_size": chunk_size,
    }  # fmt: skip
    await orders.create_job("data.import", payload)
    while len(results) < len(orders.jobs):
        result = await handler.handle(orders.jobs[len(results)])
        assert result.success, result.error
        results.append(result.result_data)
    return results


@pytest.fixture(scope="session")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an import of all tables."""
    output = tmp_path_factory.mktemp("imported")
    for dataset in ROWS:
        asyncio.run(import_all(output, dataset, 50_000))
    return output


@pytest.mark.parametrize("dataset", [name for name in ROWS if name != "flights"])
async def test_every_row_of_a_table_arrives_once(tmp_path: Path, dataset: str) -> None:
    results = await import_all(tmp_path, dataset, 1000)

    assert sum(result["records_imported"] for result in results) == ROWS[dataset]
    assert sum(result["records_rejected"] for result in results) == 0
    with closing(sqlite3.connect(tmp_path / "imports" / "nyc.db")) as database:
        [(rows, highest)] = database.execute(f"SELECT count(*), max(row) FROM {dataset}")
    assert (rows, highest) == (ROWS[dataset], ROWS[dataset] - 1)


def test_all_flights_of_the_year_arrive_once(imported: Path) -> None:
    with closing(sqlite3.connect(imported / "imports" / "nyc.db")) as database:
        [(rows, distinct)] = database.execute("SELECT count(*), count(DISTINCT row) FROM flights")
        [(cancelled,)] = database.execute("SELECT count(*) FROM flights WHERE dep_time IS NULL")

    assert rows == distinct == 336_776
    assert cancelled == 8_255


class Page(HTMLParser):
    """Collects what a reader sees."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


async def report(output: Path, **fields: Any) -> JobResult:
    payload = {"import_id": "nyc", "output": str(output), **fields}
    return await ReportHandler(ReportFiles()).handle(report_job(payload))


def report_job(payload: dict[str, Any]) -> Job:
    return make_job(job_type="report.generate", payload=payload)


async def test_a_report_is_a_page_with_charts_and_tables_and_a_document(imported: Path) -> None:
    result = await report(imported, report_type="carrier", subject="UA")

    assert result.success, result.error
    assert result.result_data["rows"] == 58_665
    html = Path(result.result_data["file_path"]).read_text()
    page = Page(html)
    assert page.tags.count("table") == page.tags.count("svg") == page.tags.count("section") == 6
    assert "United Air Lines Inc." in page.text
    assert "EWR–SFO" in page.text
    assert "58,665" in page.text
    document = Path(result.result_data["document_path"]).read_bytes()
    assert document.startswith(b"%PDF-1.")
    assert document.rstrip().endswith(b"%%EOF")
    assert len(re.findall(rb"/Type /Page\b", document)) == 6


async def test_a_page_loads_nothing_from_anywhere(imported: Path) -> None:
    result = await report(imported, report_type="origin", subject="JFK")

    page = Page(html := Path(result.result_data["file_path"]).read_text())
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert "url(http" not in html


@pytest.mark.parametrize(
    ("report_type", "subject", "title"),
    [
        ("overview", "", "All flights"),
        ("origin", "LGA", "La Guardia (LGA)"),
        ("destination", "SJU", "SJU (SJU)"),
        ("month", 2, "February 2013"),
        ("carrier", "OO", "SkyWest Airlines Inc."),
        ("destination", "LEX", "Blue Grass (LEX)"),
        ("destination", "LGA", "La Guardia (LGA)"),
    ],
)
async def test_every_kind_of_report_can_be_made_however_little_there_is_to_say(
    imported: Path, report_type: str, subject: str | int, title: str
) -> None:
    result = await report(imported, report_type=report_type, subject=subject)

    assert result.success, result.error
    assert result.result_data["title"] == title


async def test_a_report_that_is_made_twice_is_the_same_to_the_byte(imported: Path) -> None:
    first = await report(imported, report_type="carrier", subject="OO")
    html = Path(first.result_data["file_path"]).read_bytes()
    second = await report(imported, report_type="carrier", subject="OO")

    assert Path(second.result_data["file_path"]).read_bytes() == html
    assert not list((imported / "reports").glob(".*"))


@pytest.mark.parametrize(
    ("report_type", "subject", "message"),
    [
        ("carrier", "QQ", "no flights for carrier QQ"),
        ("month", 13, "a month is 1 to 12"),
        ("carrier", "' OR 1", "letters and digits only"),
    ],
)
async def test_a_subject_that_does_not_exist_is_final(
    imported: Path, report_type: str, subject: str | int, message: str
) -> None:
    result = await report(imported, report_type=report_type, subject=subject)

    assert not result.success
    assert not result.retryable
    assert message in str(result.error)


async def test_a_report_asks_to_wait_for_its_import(tmp_path: Path) -> None:
    await import_all(tmp_path, "airlines", 1000)

    result = await report(tmp_path)

    assert result.retryable
    assert "flights" in str(result.error)
    assert "airlines" not in str(result.error)
