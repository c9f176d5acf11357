from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from portico import compose
from portico.adapters.job_queue._sqlite import driver
from portico.adapters.job_queue._sqlite.driver import Connection, opened

pytest.importorskip("apsw", reason="without a wheel for it, the standard library does it all")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "jobs.db"
    path.touch()
    return path


@pytest.fixture(params=[False, True], ids=["sqlite3", "apsw"])
def connection(request: pytest.FixtureRequest, path: Path) -> Iterator[Connection]:
    with closing(opened(path, 0.0, alone=request.param)) as connection:
        connection.execute("CREATE TABLE things (n INTEGER PRIMARY KEY, name TEXT)")
        yield connection


def test_a_process_that_is_alone_with_the_file_gets_the_faster_library(path: Path) -> None:
    with closing(opened(path, 0.0, alone=False)) as shared:
        assert isinstance(shared, sqlite3.Connection)
    with closing(opened(path, 0.0, alone=True)) as fast:
        assert not isinstance(fast, sqlite3.Connection)


def test_without_it_the_standard_library_does_it_all(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "apsw", None)
    with closing(opened(path, 0.0, alone=True)) as connection:
        assert isinstance(connection, sqlite3.Connection)


def test_changes_are_counted(connection: Connection) -> None:
    insert = "INSERT INTO things VALUES (?, ?)"
    assert connection.executemany(insert, [(n, "x") for n in range(5)]).rowcount == 5
    assert connection.execute("UPDATE things SET name = 'y' WHERE n > ?", (2,)).rowcount == 2
    assert connection.execute("DELETE FROM things WHERE n = :n", {"n": 9}).rowcount == 0


def test_rows_come_one_by_one_or_together(connection: Connection) -> None:
    connection.executemany("INSERT INTO things VALUES (?, ?)", [(1, "a"), (2, "b"), (3, "c")])
    query = "SELECT n, name FROM things ORDER BY n"
    found = connection.execute(query)
    assert found.fetchone() == (1, "a")
    assert found.fetchall() == [(2, "b"), (3, "c")]
    assert found.fetchone() is None
    assert [n for n, _ in connection.execute(query)] == [1, 2, 3]


@pytest.mark.parametrize(
    "query", ["SELECT n, name FROM things", "WITH x AS (SELECT 1) SELECT n, name FROM things"]
)
def test_text_that_is_none_is_made_readable(connection: Connection, query: str) -> None:
    connection.execute("INSERT INTO things VALUES (1, CAST(x'ff41' AS TEXT)), (2, 'fine')")
    assert connection.execute(query).fetchall() == [(1, "\ufffdA"), (2, "fine")]
    assert connection.execute(query).fetchone() == (1, "\ufffdA")


def test_errors_are_those_of_the_standard_library(connection: Connection, path: Path) -> None:
    connection.execute("INSERT INTO things VALUES (1, 'a')")
    with pytest.raises(sqlite3.IntegrityError) as taken:
        connection.execute("INSERT INTO things VALUES (1, 'b')")
    assert taken.value.sqlite_errorcode == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY
    with pytest.raises(sqlite3.OperationalError, match="no such table: absent"):
        connection.execute("SELECT * FROM absent")
    connection.execute("BEGIN IMMEDIATE")
    assert connection.in_transaction
    fast = not isinstance(connection, sqlite3.Connection)
    with (
        closing(opened(path, 0.0, alone=fast)) as other,
        pytest.raises(sqlite3.OperationalError) as locked,
    ):
        other.execute("BEGIN IMMEDIATE")
    assert locked.value.sqlite_errorcode == sqlite3.SQLITE_BUSY


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    for alone in (False, True):
        with pytest.raises(sqlite3.OperationalError):
            opened(tmp_path / "none.db", 0.0, alone=alone)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (None, False), ("memory://", False), ("sqlite:///{}/audit.db", False),
        ("sqlite:///{}/jobs.db", True), ("sqlite:///{}/../{name}/jobs.db?x=1", True),
        ("sqlite:///{}/link.db", True), ("sqlite:///{}/hard.db", True),
    ],
)  # fmt: skip
def test_a_supervisor_knows_when_its_audit_log_is_in_the_same_file(
    path: Path, other: str | None, same: bool
) -> None:
    (path.parent / "link.db").symlink_to(path)
    (path.parent / "hard.db").hardlink_to(path)
    named = other and other.replace("{name}", path.parent.name).format(path.parent)
    assert compose.same_file(f"sqlite:///{path}", named) is same
