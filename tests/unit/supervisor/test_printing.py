"""Frames of output: whole or in pieces, found among bare bytes, and never believed too far."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.supervisor import printing
from portico.supervisor.printing import Job, Piece, Reader, frame, new_key
from portico.utils.log_context import log_context

KEY = new_key()
LABEL = b'{"job_id":"7","job_type":"a.b"}'
ITS = Job("7", "a.b")

parts = st.lists(
    st.tuples(st.booleans(), st.binary(max_size=30).filter(lambda data: KEY[:1] not in data))
)


def merged(pieces: list[Piece]) -> list[tuple[Job | None, bytes]]:
    """What each of them said in a row, however it came apart."""
    found: list[tuple[Job | None, bytes]] = []
    for text, job, *_ in pieces:
        if found and found[-1][0] == job:
            found[-1] = (job, found[-1][1] + text)
        elif text:
            found.append((job, text))
    return found


@given(parts, st.integers(1, 50))
def test_frames_and_bare_bytes_come_out_as_they_went_in_however_they_are_cut(
    said: list[tuple[bool, bytes]], size: int
) -> None:
    data = b"".join(frame(KEY, LABEL, text) if ours else text for ours, text in said)
    reader = Reader(KEY)
    got = [p for at in range(0, len(data), size) for p in reader.feed(data[at : at + size])]
    got += reader.close()
    assert merged(got) == merged([Piece(text, ITS if ours else None) for ours, text in said])


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_nothing_that_follows_a_key_raises_or_is_kept_for_ever(first: bytes, second: bytes) -> None:
    reader = Reader(KEY)
    got = [*reader.feed(KEY + first), *reader.feed(KEY + second), *reader.close()]
    assert sum(len(piece.text) for piece in got) <= 2 * len(KEY) + len(first) + len(second)
    assert [*reader.close()] == []


def test_a_label_in_which_one_thing_is_in_another_without_end_is_none() -> None:
    for label in (b'{"a":' + b"[" * 1019, b'{"a":' * 170, b"[" * 1024):
        assert {piece.job for piece in Reader(KEY).feed(frame(KEY, label, b"x"))} == {None}


def test_bare_text_is_not_kept_waiting() -> None:
    assert [*Reader(KEY).feed(b"42% of rows")] == [Piece(b"42% of rows", None)]


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for fd in (reading, writing):
        os.close(fd)


def test_a_stream_frames_what_each_job_writes_and_ends_its_line_with_the_job(
    pipe: tuple[int, int],
) -> None:
    reading, writing = pipe
    labels = printing.Labels()
    labels.begin(KEY, writing)
    writer = printing.JobWriter(writing, labels)
    first, second = uuid4(), uuid4()
    with log_context(job_id=first, attempt=1):
        writer.write(b"half a line")
    with log_context(job_id=second, attempt=2):
        writer.write(b"a whole one\n")
    assert len(labels.unfinished) == 1
    labels.finish(first)
    assert not labels.unfinished
    assert [*Reader(KEY).feed(os.read(reading, 10_000))] == [
        Piece(b"half a line", Job(str(first), attempt=1)),
        Piece(b"a whole one\n", Job(str(second), attempt=2)),
        Piece(b"", Job(str(first), attempt=1), over=True),
    ]


def test_outside_of_a_job_and_before_anybody_reads_frames_bytes_are_bare(
    pipe: tuple[int, int],
) -> None:
    reading, writing = pipe
    writer = printing.JobWriter(writing, printing.Labels())
    with log_context(job_id=UUID(int=1)):
        writer.write(b"no key yet\n")
        writer.flush()
    assert os.read(reading, 1000) == b"no key yet\n"


def test_what_a_handler_sends_elsewhere_arrives_there_as_it_was_written(
    pipe: tuple[int, int], tmp_path: Path
) -> None:
    reading, writing = pipe
    labels = printing.Labels()
    labels.begin(KEY, writing)
    standard, kept = os.dup(writing), os.dup(writing)
    writer = printing.JobWriter(standard, labels)
    with (tmp_path / "captured").open("wb") as elsewhere, log_context(job_id=UUID(int=1)):
        os.dup2(elsewhere.fileno(), standard)
        writer.write(b"captured")
        writer.flush()
        os.dup2(kept, standard)
        writer.write(b"shown\n")
        writer.flush()
    os.close(kept)
    os.close(standard)
    assert (tmp_path / "captured").read_bytes() == b"captured"
    assert [*Reader(KEY).feed(os.read(reading, 1000))] == [Piece(b"shown\n", Job(str(UUID(int=1))))]
