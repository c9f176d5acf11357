"""An adapter as a holder of leases, in the writer's transactions."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from portico.adapters.job_queue._sqlite.leasing import Owner
from portico.adapters.job_queue._sqlite.schema import upgrade

OTHER = """
INSERT INTO portico_owners (name, boot, namespace, pid, started, beat, lease_seconds)
VALUES ('another:1', '', '', 1, '', 7, 60) RETURNING id"""


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        upgrade(connection, "here")
        yield connection


def test_a_number_that_was_never_committed_and_is_anothers_now_is_not_used(
    connection: sqlite3.Connection,
) -> None:
    owner = Owner(60)
    connection.execute("BEGIN IMMEDIATE")
    lost, _ = owner.beat(connection, renews=True)
    connection.execute("ROLLBACK")
    [another] = connection.execute(OTHER).fetchone()
    assert another == lost
    own, _ = owner.beat(connection, renews=True)
    assert own != another
    [beat] = connection.execute(
        "SELECT beat FROM portico_owners WHERE id = ?", (another,)
    ).fetchone()
    assert beat == 7
    assert owner.beat(connection, renews=True)[0] == own
