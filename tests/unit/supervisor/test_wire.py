from __future__ import annotations

import os
import uuid
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.ports.leasing import Failure, Lease
from portico.supervisor import framing, wire


def lease(payload: bytes = b"{}") -> Lease:
    return Lease(
        id=uuid.uuid4().bytes,
        token=os.urandom(16),
        attempt=1,
        queue_name="default",
        job_type="a.b",
        payload=payload,
        priority=0,
        max_retries=3,
        retry_count=0,
        scheduled_at=None,
        started_at=1,
        created_at=1,
        created_by=None,
        metadata=b"{}",
        error_message=None,
        suspect=False,
    )


MESSAGES: list[wire.ToWorker] = [
    wire.Run(7, [lease(), lease(b"\xff not json \x00")]),
    wire.Recall(),
    wire.Cancel(3, requested=True),
    wire.Mourn(9, lease(), Failure("WorkerLostError", "gone", "")),
    wire.Answer(1, b"value"),
    wire.Dump(),
    wire.Stop(),
]


def read(pieces: list[bytes]) -> list[object]:
    reader = wire.reader_of_supervisor()
    return [message for piece in pieces for message in reader.feed(piece)]


@given(st.data())
def test_messages_arrive_the_same_however_the_stream_is_sliced(data: st.DataObject) -> None:
    stream = b"".join(wire.frame(message) for message in MESSAGES)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=40)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert read(pieces) == MESSAGES


def test_a_single_byte_at_a_time_is_enough() -> None:
    stream = b"".join(wire.frame(message) for message in MESSAGES)
    assert read([stream[n : n + 1] for n in range(len(stream))]) == MESSAGES


def test_a_payload_that_is_no_json_travels_untouched() -> None:
    odd = lease(b"\xff\xfe\x00{")
    (run,) = read([wire.frame(wire.Run(1, [odd]))])
    assert isinstance(run, wire.Run)
    assert run.leases == [odd]


def test_a_lying_length_is_refused_before_anything_is_allocated() -> None:
    reader = wire.reader_of_worker()
    with pytest.raises(framing.FrameError, match="over the limit"):
        list(reader.feed(b"\xff\xff\xff\xff"))


@given(st.binary(max_size=200))
def test_arbitrary_bodies_raise_nothing_but_a_frame_error(body: bytes) -> None:
    reader = wire.reader_of_worker()
    with suppress(framing.FrameError):
        list(reader.feed(len(body).to_bytes(4, "little") + body))


def test_a_frame_of_the_other_direction_is_refused() -> None:
    reader = wire.reader_of_worker()
    with pytest.raises(framing.FrameError):
        list(reader.feed(wire.frame(wire.Stop())))


def test_a_stream_that_ends_inside_of_a_frame_is_known_to_be_truncated() -> None:
    reader = wire.reader_of_worker()
    list(reader.feed(wire.frame(wire.Done(1, b"{}", 0.1))[:-1]))
    assert reader.truncated
