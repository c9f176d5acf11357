"""What a report is about."""

from __future__ import annotations

from calendar import month_name
from typing import Literal, NamedTuple

from portico.exceptions import ValidationError

ReportType = Literal["overview", "carrier", "origin", "destination", "month"]

COLUMNS = {"carrier": "carrier", "origin": "origin", "destination": "dest", "month": "month"}


class Scope(NamedTuple):
    """One slice of the flights: all of them, or those with one value in one column."""

    report_type: ReportType
    subject: str = ""

    @classmethod
    def of(cls, report_type: ReportType, subject: str) -> Scope:
        """Check a slice.

        Raises:
            ValidationError: the subject does not fit the type.
        """
        if (report_type == "overview") == bool(subject):
            raise ValidationError(
                "subject is required (a code or a month), except for the type overview"
            )
        if report_type == "month" and subject not in {str(n) for n in range(1, 13)}:
            raise ValidationError(f"subject is {subject!r}; a month is 1 to 12")
        if not subject.isalnum() and subject:
            raise ValidationError(f"subject is {subject!r}; a code has letters and digits only")
        return cls(report_type, subject)

    @property
    def slug(self) -> str:
        """The report's file name, without its ending; months sort."""
        if self.report_type == "month":
            return f"month-{int(self.subject):02d}"
        return f"{self.report_type}-{self.subject}" if self.subject else self.report_type

    @property
    def month(self) -> str:
        """The name of the month that it is about, if any."""
        return month_name[int(self.subject)] if self.report_type == "month" else ""

    @property
    def condition(self) -> tuple[str, tuple[str | int, ...]]:
        """The slice as an SQL condition and its parameters."""
        if self.report_type == "overview":
            return "1", ()
        value = int(self.subject) if self.report_type == "month" else self.subject
        return f"{COLUMNS[self.report_type]} = ?", (value,)
