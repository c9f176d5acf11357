"""Where imported rows are kept: a directory with one SQLite database per import."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import accumulate, chain
from pathlib import Path
from typing import NamedTuple

from portico.examples.imports.datasets import Cleaned, Dataset
from portico.exceptions import ValidationError

BUSY_TIMEOUT = 30.0
"""Seconds to wait for another process that writes to the same import."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")

CHUNKS = """
CREATE TABLE IF NOT EXISTS chunks (
    dataset TEXT, start INTEGER, length INTEGER, imported INTEGER, rejected INTEGER,
    missing TEXT, last INTEGER, PRIMARY KEY (dataset, start)
)
"""


class Part(NamedTuple):
    """Which rows of the source a chunk covers, good or not."""

    start: int
    length: int
    last: bool

    @property
    def end(self) -> int:
        """The row after it; nothing comes after the last part."""
        return 2**62 if self.last else self.start + self.length


class Progress(NamedTuple):
    """How much of a dataset has been imported."""

    rows: int
    rejected: int
    complete: bool


class ImportStore:
    """Imports in a directory.

    A part is written in one transaction that replaces what an earlier attempt at it wrote, so a
    job that runs twice leaves the rows as if it had run once.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, import_id: str) -> Path:
        """The database of an import.

        Raises:
            ValidationError: the id cannot be a file's name.
        """
        return self._root / f"{_checked(import_id)}.db"

    def source(self, import_id: str, dataset: str) -> Path:
        """Where the unpacked source of an import may be kept until the import is complete."""
        return self._root / "sources" / f"{_checked(import_id)}-{dataset}.csv"

    def write(self, import_id: str, dataset: Dataset, part: Part, cleaned: Cleaned) -> None:
        """Store a part of a dataset."""
        places = ", ".join("?" * (len(dataset.columns) + 1))
        missing = json.dumps(cleaned.missing)
        counts = (len(cleaned.rows), len(cleaned.rejected), missing, part.last)
        with self._transaction(import_id) as database:
            database.execute(_table(dataset))
            database.execute(
                f"DELETE FROM {dataset.name} WHERE row >= ? AND row < ?",  # noqa: S608 - a constant
                (part.start, part.end),
            )
            insert = f"INSERT INTO {dataset.name} VALUES ({places})"  # noqa: S608 - as above
            database.executemany(insert, cleaned.rows)
            database.execute(
                "DELETE FROM chunks WHERE dataset = ? AND start < ? AND start + length > ?",
                (dataset.name, part.end, part.start),
            )
            database.execute(
                "INSERT OR REPLACE INTO chunks VALUES (?, ?, ?, ?, ?, ?, ?)",
                (dataset.name, part.start, part.length, *counts),
            )

    def progress(self, import_id: str, dataset: str) -> Progress:
        """How far a dataset has come; complete when its parts join up to the last one."""
        path = self.path(import_id)
        if not path.exists():
            return Progress(0, 0, complete=False)
        with closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT)) as database:
            parts = database.execute(
                "SELECT start, length, imported, rejected, last FROM chunks"
                " WHERE dataset = ? ORDER BY start",
                (dataset,),
            ).fetchall()
        ends = accumulate(length for _, length, *_ in parts)
        joined = all(part[0] == end for part, end in zip(parts, chain([0], ends), strict=False))
        return Progress(
            rows=sum(part[2] for part in parts),
            rejected=sum(part[3] for part in parts),
            complete=bool(parts and joined and parts[-1][4]),
        )

    @contextmanager
    def _transaction(self, import_id: str) -> Iterator[sqlite3.Connection]:
        path = self.path(import_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None)
        with closing(database):
            database.execute("BEGIN IMMEDIATE")
            database.execute(CHUNKS)
            yield database  # closing without a commit rolls back
            database.execute("COMMIT")


def _checked(import_id: str) -> str:
    if not NAME.fullmatch(import_id):
        raise ValidationError(
            f"import_id is {import_id[:80]!r}; use 1 to 64 letters, digits or any of _ . -"
        )
    return import_id


def _table(dataset: Dataset) -> str:
    columns = ", ".join(f"{_quoted(c.name)} {c.sql_type}" for c in dataset.columns)
    return f"CREATE TABLE IF NOT EXISTS {dataset.name} (row INTEGER PRIMARY KEY, {columns})"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
