from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from portico.examples.report_files import ReportFiles
from portico.examples.report_handler import ReportHandler, ReportRequest, WrittenReport
from portico.exceptions import ResourceNotFoundError, ValidationError
from tests.support.jobs import make_job


class Press:
    """Prints two tiny files, unless something is lacking."""

    def __init__(self, folder: Path, lacking: str = "", error: Exception | None = None) -> None:
        self.page, self.document = folder / "page.html", folder / "document.pdf"
        self.missing = lacking
        self.error = error
        self.requests: list[ReportRequest] = []

    def lacking(self, request: ReportRequest) -> str:
        return self.missing

    def generate(self, request: ReportRequest) -> WrittenReport:
        self.requests.append(request)
        if self.error is not None:
            raise self.error
        self.page.write_text("12345")
        self.document.write_text("123")
        return WrittenReport("Title", self.page, self.document, rows=7, on_time=0.5)


def report_job(**fields: Any) -> Any:
    payload = {"import_id": "x", "report_type": "carrier", "subject": "UA"}
    return make_job(job_type="report.generate", payload={**payload, **fields})


async def test_the_result_tells_where_the_files_are_and_how_big(tmp_path: Path) -> None:
    press = Press(tmp_path)

    result = await ReportHandler(press).handle(report_job())

    assert result.success
    assert result.result_data["file_path"] == str(press.page)
    assert result.result_data["document_path"] == str(press.document)
    assert result.result_data["size_bytes"] == 8
    assert result.result_data["rows"] == 7
    assert press.requests == [ReportRequest(import_id="x", report_type="carrier", subject="UA")]


async def test_a_report_whose_import_is_not_complete_is_tried_again_later(tmp_path: Path) -> None:
    press = Press(tmp_path, lacking="not complete: flights (10 rows so far)")

    result = await ReportHandler(press).handle(report_job())

    assert not result.success
    assert result.retryable
    assert str(result.error) == "import x: not complete: flights (10 rows so far)"
    assert press.requests == []


@pytest.mark.parametrize(
    "error", [ResourceNotFoundError("no flights for carrier QQ"), ValidationError("a month is 1")]
)
async def test_a_subject_that_does_not_exist_is_final(tmp_path: Path, error: Exception) -> None:
    result = await ReportHandler(Press(tmp_path, error=error)).handle(report_job())

    assert not result.success
    assert not result.retryable
    assert result.error is error


async def test_a_full_disk_is_raised_so_that_the_job_is_tried_again(tmp_path: Path) -> None:
    press = Press(tmp_path, error=OSError(28, "No space left on device"))

    with pytest.raises(OSError, match="No space left"):
        await ReportHandler(press).handle(report_job())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"import_id": None}, "Expected `str`, got `null` - at `$.import_id`"),
        ({"report_type": "planet"}, "Invalid enum value 'planet' - at `$.report_type`"),
        ({"subject": 1.5}, "at `$.subject`"),
    ],
)
async def test_a_payload_that_is_not_acceptable_fails_for_good_and_says_why(
    tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    result = await ReportHandler(Press(tmp_path)).handle(report_job(**fields))

    assert not result.success
    assert isinstance(result.error, ValidationError)
    assert message in str(result.error)


async def test_what_an_import_lacks_is_told_table_by_table(tmp_path: Path) -> None:
    result = await ReportHandler(ReportFiles()).handle(report_job(output=str(tmp_path)))

    assert result.retryable
    assert "flights (0 rows so far)" in str(result.error)
    assert "airlines (0 rows so far)" in str(result.error)
