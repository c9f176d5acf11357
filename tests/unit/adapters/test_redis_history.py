"""What Redis has kept of an attempt, as it is read again."""

from __future__ import annotations

import msgspec
import pytest

from portico.adapters.job_queue._redis.rows import attempt_of_note


@pytest.mark.parametrize("note", ["[" * 5000, "[" * 100, "", "{", "[1]"])
def test_a_note_that_cannot_be_read_is_said_to_be_damaged(note: str) -> None:
    """On Python 3.11 some of them are too deep to be decoded at all."""
    packed = msgspec.msgpack.encode((1, "failed", "1", "2", "host:1", note))
    found = attempt_of_note(packed)
    assert found[:2] == (0, "unreadable")
