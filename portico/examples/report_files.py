"""Makes reports from imports and keeps them as files."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from portico.examples.imports.datasets import DATASETS
from portico.examples.imports.source import write_atomically
from portico.examples.imports.store import ImportStore
from portico.examples.optional import examples_extra
from portico.examples.report_handler import ReportRequest, WrittenReport


class ReportFiles:
    """A report service over the import store: `<output>/imports` to `<output>/reports`.

    A file appears under its name when it is whole, so a reader never meets half a report and a
    job that runs twice replaces its own work.
    """

    def lacking(self, request: ReportRequest) -> str:
        """Which tables are not complete yet."""
        store = ImportStore(Path(request.output, "imports"))
        waiting = []
        for dataset in DATASETS:
            progress = store.progress(request.import_id, dataset)
            if not progress.complete:
                waiting.append(f"{dataset} ({progress.rows} rows so far)")
        return f"not complete: {', '.join(waiting)}" if waiting else ""

    def generate(self, request: ReportRequest) -> WrittenReport:
        """Make the page and the document.

        Raises:
            ValidationError: the subject does not fit the type.
            ResourceNotFoundError: the import has no flights for this subject.
            NonRetryableError: a library is not installed.
        """
        with examples_extra():
            from portico.examples.reports import page, pdf
            from portico.examples.reports.scope import Scope
            from portico.examples.reports.summary import summarize
        scope = Scope.of(request.report_type, str(request.subject))
        database = ImportStore(Path(request.output, "imports")).path(request.import_id)
        report = summarize(database, scope)
        folder = Path(request.output, "reports")
        html, document = folder / f"{scope.slug}.html", folder / f"{scope.slug}.pdf"
        write_atomically(document, BytesIO(pdf.render(report)))
        write_atomically(html, BytesIO(page.render(report).encode()))
        return WrittenReport(report.title, html, document, report.rows, report.on_time)
