"""Which of the driver's errors are an outage, to be waited for, and which are not."""

from __future__ import annotations

import asyncpg
import pytest

from portico.adapters.job_queue._postgres.errors import LOST, translated
from portico.adapters.job_queue._postgres.place import place_of
from portico.exceptions import QueueConnectionError

PLACE, _ = place_of("postgresql://user:secret@localhost/jobs")


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.InternalClientError("cannot switch to state 12; another operation is in progress"),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.ConnectionDoesNotExistError("closed in the middle of operation"),
        ConnectionResetError("reset by peer"),
        TimeoutError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_the_driver_says_of_a_connection_that_ends_it_is_an_outage(
    error: Exception,
) -> None:
    assert isinstance(error, LOST), "the connection would be used again"
    told = translated(error, PLACE)
    assert isinstance(told, QueueConnectionError)
    assert "secret" not in str(told)
