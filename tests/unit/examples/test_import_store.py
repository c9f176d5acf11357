from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from portico.examples.imports.datasets import Cleaned, free_form
from portico.examples.imports.store import ImportStore, Part, Progress
from portico.exceptions import ValidationError

DATASET = free_form(["name"])


@pytest.fixture
def store(tmp_path: Path) -> ImportStore:
    return ImportStore(tmp_path / "imports")


def write(store: ImportStore, part: Part, *names: str, rejected: int = 0) -> None:
    rows = [(part.start + number, name) for number, name in enumerate(names)]
    store.write("one", DATASET, part, Cleaned(rows, ["bad"] * rejected, {}))


def names(store: ImportStore) -> list[str]:
    with closing(sqlite3.connect(store.path("one"))) as database:
        return [name for (name,) in database.execute("SELECT name FROM records ORDER BY row")]


def test_an_import_that_has_not_begun_is_not_complete(store: ImportStore) -> None:
    assert store.progress("one", "records") == Progress(0, 0, complete=False)


def test_parts_add_up_until_the_last_one_completes_the_import(store: ImportStore) -> None:
    write(store, Part(0, 3, last=False), "a", "b", rejected=1)
    assert store.progress("one", "records") == Progress(2, 1, complete=False)

    write(store, Part(3, 1, last=True), "d")
    assert store.progress("one", "records") == Progress(3, 1, complete=True)
    assert names(store) == ["a", "b", "d"]


def test_a_part_that_is_written_twice_counts_once(store: ImportStore) -> None:
    for _ in range(2):
        write(store, Part(0, 2, last=False), "a", "b")
        write(store, Part(2, 0, last=True))

    assert names(store) == ["a", "b"]
    assert store.progress("one", "records") == Progress(2, 0, complete=True)


def test_a_gap_keeps_the_import_incomplete(store: ImportStore) -> None:
    write(store, Part(0, 1, last=False), "a")
    write(store, Part(2, 1, last=True), "c")

    assert not store.progress("one", "records").complete


def test_a_shorter_second_import_leaves_nothing_of_the_first(store: ImportStore) -> None:
    write(store, Part(0, 2, last=False), "a", "b")
    write(store, Part(2, 2, last=True), "c", "d")
    write(store, Part(0, 1, last=True), "z")

    assert names(store) == ["z"]
    assert store.progress("one", "records") == Progress(1, 0, complete=True)


def test_other_chunk_sizes_replace_what_they_overlap(store: ImportStore) -> None:
    write(store, Part(0, 4, last=False), "a", "b", "c", "d")
    write(store, Part(0, 2, last=False), "x", "y")
    assert not store.progress("one", "records").complete

    write(store, Part(2, 2, last=True), "c", "d")
    assert store.progress("one", "records") == Progress(4, 0, complete=True)


def test_a_part_that_cannot_be_stored_leaves_no_trace(store: ImportStore) -> None:
    write(store, Part(0, 1, last=False), "a")

    with pytest.raises(sqlite3.IntegrityError):
        store.write("one", DATASET, Part(1, 2, last=True), Cleaned([(1, "b"), (1, "b")]))

    assert names(store) == ["a"]
    assert store.progress("one", "records") == Progress(1, 0, complete=False)


def test_column_names_are_quoted(store: ImportStore) -> None:
    dataset = free_form(['x"; DROP TABLE chunks; --', "select"])

    store.write("one", dataset, Part(0, 1, last=True), Cleaned([(0, "a", "b")]))

    assert store.progress("one", "records").complete


@pytest.mark.parametrize("import_id", ["", "../up", ".hidden", "a/b", "x" * 65, "né"])
def test_an_id_that_is_no_file_name_is_refused(store: ImportStore, import_id: str) -> None:
    with pytest.raises(ValidationError, match="import_id"):
        store.path(import_id)
