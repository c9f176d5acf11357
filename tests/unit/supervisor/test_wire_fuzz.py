"""A worker may write anything into its pipe: it costs that worker, and not the supervisor."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portico.ports.leasing import Failure, Lease
from portico.supervisor import framing, wire

MIB = 1024 * 1024
WHY = Failure("ValueError", "it broke", "Traceback: ...")
LEASE = Lease(
    id=bytes(16),
    token=bytes(16),
    attempt=1,
    queue_name="default",
    job_type="a.b",
    payload=b"{}",
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
FROM_WORKER: list[Any] = [
    wire.Ready(wire.VERSION, ["a.b", "c.d"], []),
    wire.Unready("no module", "Traceback: ..."),
    wire.Done(1, b"{}", 0.5),
    wire.Ended(2, "Failed", WHY, retryable=True, elapsed=0.5, mourning=False),
    wire.Mourned(3),
    wire.Recalled([4, 5]),
    wire.Dumped("stacks"),
    wire.Request(6, "enqueue", b"{}"),
]
TO_WORKER: list[Any] = [
    wire.Run(7, [LEASE, LEASE]),
    wire.Mourn(8, LEASE, WHY),
    wire.Recall(),
    wire.Cancel(9, requested=False),
    wire.Stop(),
    wire.Dump(),
    wire.Answer(10, b"value", None),
]
READERS: dict[str, tuple[Callable[[], framing.MessageReader], list[Any]]] = {
    "of a worker": (wire.reader_of_worker, FROM_WORKER),
    "of a supervisor": (wire.reader_of_supervisor, TO_WORKER),
}
BOTH = pytest.mark.parametrize("side", READERS)

# Each makes a reader believe in more than there is: arrays, maps, texts, bytes and extensions.
LYING = [
    head + length
    for head in (b"\xdd", b"\xdf", b"\xdb", b"\xc6", b"\xc9")
    for length in (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\xff\xff\xff")
]
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.binary()
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "little") + body


@st.composite
def bodies(draw: st.DrawFn, messages: list[Any]) -> bytes:
    """The body of a frame that was one, until something happened to it."""
    body = msgspec.msgpack.encode(draw(st.sampled_from(messages)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(body)))
        end = draw(st.integers(at, min(len(body), at + 12)))
        match draw(st.sampled_from(["replace", "lie", "cut", "repeat", "value", "arity", "nest"])):
            case "replace":
                body = body[:at] + draw(st.binary(max_size=8)) + body[end:]
            case "lie":
                body = body[:at] + draw(st.sampled_from(LYING)) + body[end:]
            case "cut":
                body = body[:at]
            case "repeat":
                body = body[:end] + body[at:end] * draw(st.integers(1, 50)) + body[end:]
            case "value":
                body = body[:at] + msgspec.msgpack.encode(draw(plain)) + body[end:]
            case "arity" if body:
                body = bytes([0x90 | draw(st.integers(0, 15))]) + body[1:]
            case "nest":
                deep = draw(st.sampled_from([b"\x91", b"\x81\xa1k", b"\x81\x91", b"\xdc\x00\x01"]))
                body = body[:at] + deep * draw(st.sampled_from([70, 2000, 100_000])) + body[end:]
    return body


def refused_or_read(reader: framing.MessageReader, pieces: list[bytes]) -> list[Any] | None:
    """The messages; `None` when one was refused. Any other error escapes."""
    try:
        return [message for piece in pieces for message in reader.feed(piece)]
    except framing.FrameError:
        return None


def peak_of(work: Callable[[], object]) -> int:
    """Bytes that some work had allocated at most."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        work()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@BOTH
@settings(max_examples=500, deadline=None)
@given(data=st.data())
def test_whatever_becomes_of_a_frame_only_a_frame_error_comes_of_it(
    side: str, data: st.DataObject
) -> None:
    make, messages = READERS[side]
    drawn = data.draw(st.lists(bodies(messages), min_size=1, max_size=3))
    stream = b"".join(framed(body) for body in drawn)
    lie = data.draw(st.none() | st.binary(min_size=4, max_size=4))
    if lie is not None:
        stream = lie + stream[4:]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=4)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    reader = make()
    read: list[Any] = []
    # A list may cost eight bytes for each of a byte: frames this short stay below the mebibyte.
    assert peak_of(lambda: read.append(refused_or_read(reader, pieces))) <= 2 * len(stream) + MIB
    kinds = {type(message) for message in messages}
    assert read[0] is None or {type(message) for message in read[0]} <= kinds


@BOTH
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_what_is_read_can_be_written_and_read_again(side: str, data: st.DataObject) -> None:
    make, messages = READERS[side]
    read = refused_or_read(make(), [framed(data.draw(bodies(messages)))])
    if read:
        again = refused_or_read(make(), [wire.frame(message) for message in read])
        assert repr(again) == repr(read)  # NaN is not equal to itself


@BOTH
@pytest.mark.parametrize("opening", [b"\x91", b"\x81\xa1k", b"\xdd\x00\x00\x00\x01"], ids=repr)
def test_a_body_nested_a_hundred_thousand_deep_is_refused(side: str, opening: bytes) -> None:
    make, messages = READERS[side]
    for message in messages:
        body = bytearray(msgspec.msgpack.encode(message))
        for at in range(len(body) + 1):
            deep = bytes(body[:at]) + opening * 100_000 + b"\xc0"
            if at in (0, 1, len(body)) or body[at - 1] >= 0x90:
                assert refused_or_read(make(), [framed(deep)]) is None


@BOTH
@pytest.mark.parametrize("lie", LYING, ids=repr)
def test_a_length_that_the_body_does_not_have_is_refused_and_costs_nothing(
    side: str, lie: bytes
) -> None:
    make, messages = READERS[side]
    for message in messages:
        body = msgspec.msgpack.encode(message)
        for at in range(len(body)):
            stream = framed(body[:at] + lie + body[at:])

            def read(stream: bytes = stream) -> None:
                refused_or_read(make(), [stream])

            if at < 2:
                assert peak_of(read) <= 2 * len(stream) + MIB
            else:
                read()


@pytest.mark.parametrize("size", [framing.MAX_FRAME + 1, 2**31, 2**32 - 1])
def test_a_frame_over_the_limit_is_refused_before_its_body_comes(size: int) -> None:
    reader = wire.reader_of_worker()
    assert refused_or_read(reader, [size.to_bytes(4, "little")]) is None


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 15), st.sampled_from(FROM_WORKER))
def test_an_array_of_the_wrong_length_is_refused_unless_only_optional_fields_differ(
    length: int, message: Any
) -> None:
    values = msgspec.msgpack.decode(msgspec.msgpack.encode(message))
    changed = (values + [None] * 15)[:length]
    read = refused_or_read(wire.reader_of_worker(), [framed(msgspec.msgpack.encode(changed))])
    required = 1 + sum(field.required for field in msgspec.structs.fields(message))
    if length < required:
        assert read is None
    else:
        assert read in (None, [message])  # fields that a later version adds are passed over


def test_a_stream_in_single_bytes_costs_no_more_than_its_frame() -> None:
    reader = wire.reader_of_worker()
    stream = wire.frame(wire.Done(1, b"x" * 20_000, 0.1))
    pieces = [stream[at : at + 1] for at in range(len(stream))]
    read: list[Any] = []
    peak = peak_of(lambda: read.append(refused_or_read(reader, pieces)))
    assert read == [[wire.Done(1, b"x" * 20_000, 0.1)]]
    assert peak <= 4 * len(stream) + MIB // 4
