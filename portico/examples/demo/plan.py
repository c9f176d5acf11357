"""What the demo enqueues, and what must come of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROWS = {"airlines": 16, "airports": 1_458, "planes": 3_322, "weather": 26_115, "flights": 336_776}
"""The tables and their sizes; flights last, for they take longest."""

CARRIERS = (
    "9E", "AA", "AS", "B6", "DL", "EV", "F9", "FL",
    "HA", "MQ", "OO", "UA", "US", "VX", "WN", "YV",
)  # fmt: skip
ORIGINS = ("EWR", "JFK", "LGA")

IMPORT_ID = "nyc-2013"
IMPORT, REPORT = "data.import", "report.generate"

Subject = tuple[str, str]


def all_reports() -> tuple[Subject, ...]:
    """Every report: the year, the airlines, the airports and the months."""
    return (
        ("overview", ""),
        *(("origin", code) for code in ORIGINS),
        *(("carrier", code) for code in CARRIERS),
        *(("month", str(number)) for number in range(1, 13)),
    )


@dataclass(frozen=True)
class Plan:
    """A run of the demo in a folder."""

    output: Path
    workers: int = 8
    chunk_size: int = 10_000
    reports: tuple[Subject, ...] = field(default_factory=all_reports)

    @property
    def queue_url(self) -> str:
        """The store of the run."""
        return f"sqlite:///{self.output / 'jobs.db'}"

    @property
    def expected(self) -> dict[str, int]:
        """Jobs of each type. A chunk that is not full ends a table, so there is always one."""
        chunks = sum(rows // self.chunk_size + 1 for rows in ROWS.values())
        return {IMPORT: chunks, REPORT: len(self.reports)}

    def jobs(self) -> list[dict[str, Any]]:
        """The first chunk of every table; the last one of the flights enqueues the reports."""
        return [
            {
                "job_type": IMPORT,
                "priority": 0 if dataset == "flights" else 1,
                "payload": {
                    "dataset": dataset,
                    "import_id": IMPORT_ID,
                    "chunk_size": self.chunk_size,
                    "output": str(self.output),
                    "then": self._reports() if dataset == "flights" else [],
                },
            }
            for dataset in ROWS
        ]

    def _reports(self) -> list[dict[str, Any]]:
        return [
            {
                "job_type": REPORT,
                "payload": {
                    "import_id": IMPORT_ID,
                    "report_type": report_type,
                    "subject": subject,
                    "output": str(self.output),
                },
            }
            for report_type, subject in self.reports
        ]
