"""What becomes of the lines that a worker writes to its log's pipe."""

from __future__ import annotations

import io
import json
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from portico.supervisor.output import OutputLog
from portico.supervisor.printing import NOBODY, Job, frame, new_key
from portico.supervisor.relay import LogRelay, bound, fields_of
from portico.utils.log_output import PipeOutput
from portico.utils.logging import configure_logging, get_logger, log_to, reset_logging
from tests.support.waiting import PATIENCE

FIRST, LAST = "2026-01-01T00:00:00.000000Z", "2026-01-02T00:00:00.000000Z"
JOB = Job("mine", "mail", "default", 2)
KEY = new_key()
TURN = 64 * 1024
"""Bytes that are read in a turn."""


class Pipe:
    """A pipe that blocks nobody."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        for fd in (self.reading, self.writing):
            os.set_blocking(fd, False)

    def fill(self, data: bytes) -> None:
        while data:
            data = data[os.write(self.writing, data) :]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    os.close(made.reading)
    os.close(made.writing)


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    out = io.StringIO()
    configure_logging(log_format="json", stream=out)
    yield out
    reset_logging()


def lines(log: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


def line(event: str, **fields: Any) -> bytes:
    return json.dumps({"event": event, "level": "info", **fields}).encode() + b"\n"


def relay(stray: Any = lambda _: None) -> LogRelay:
    return LogRelay(3, lambda *_: JOB, stray)


@pytest.mark.parametrize(
    "text",
    [b"", b"text", b"[]", b"1", b'{"no": "event"}', b'{"event": 1', b"\xff", b"[" * 60_000,
     b'{"event":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
     b'{"event":1' + b"".join(b',"%d":1' % n for n in range(300)) + b"}"],
)  # fmt: skip
def test_what_a_logger_does_not_write_is_no_line_of_a_log(text: bytes) -> None:
    assert fields_of(text) is None


def test_a_line_is_bound_to_its_worker_and_its_job_whatever_it_says() -> None:
    said = {"event": "x", "level": "error", "timestamp": FIRST, "logger": "acme", "n": 1}
    told = bound({**said, "job_id": "mine", "attempt": 2}, 3, JOB, (FIRST, LAST))
    facts = {"worker": 3, "origin": "worker", **JOB.facts()}
    assert told == {**said, **facts}
    forged = {**said, "worker": 4, "job_id": "his", "queue": "his", "origin": "x", "job_type": None}
    told = bound(forged, 3, JOB, (FIRST, LAST))
    assert facts.items() <= told.items()
    assert {key: value for key, value in told.items() if key.startswith("said_")} == {
        "said_worker": 4, "said_origin": "x", "said_job_id": "his", "said_queue": "his",
        "said_job_type": None,
    }  # fmt: skip


def test_a_line_of_no_job_keeps_its_own_words_and_one_of_nobodys_job_does_not() -> None:
    assert bound({"event": "x", "queue": "a"}, 3, NOBODY, (FIRST, LAST))["queue"] == "a"
    told = bound({"event": "x", "queue": "a", "job_id": "his"}, 3, NOBODY, (FIRST, LAST))
    assert (told["said_queue"], told["said_job_id"]) == ("a", "his")
    assert not {"queue", "job_id"} & told.keys()


@pytest.mark.parametrize(
    ("said", "told"),
    [({"level": "trace"}, "trace"), ({"level": "\x1b[2J"}, "info"), ({"level": ["x"]}, "info"),
     ({}, "info"), ({"level": "x" * 99}, "info")],
)  # fmt: skip
def test_a_level_is_a_word(said: dict[str, Any], told: str) -> None:
    assert bound({"event": "x", **said}, 3, NOBODY, (FIRST, LAST))["level"] == told


@pytest.mark.security("S5")
@pytest.mark.parametrize("name", ["event", "job_id", "attempt", "worker", "logger", "timestamp"])
@pytest.mark.parametrize("odd", ["[]", "{}", "9" * 4000, "1e400", "-0.0", '"\\ud800"', "deep"])
def test_a_line_is_told_whatever_stands_where_something_else_should(
    pipe: Pipe, log: io.StringIO, name: str, odd: str
) -> None:
    """At every depth around that at which Python gives up: to read it, or to write it."""
    vouched: list[object] = []

    def vouch(job_id: str, attempt: object) -> Job:
        vouched.append(hash((job_id, attempt)))
        return JOB

    reading = LogRelay(3, vouch, lambda _: None)
    for depth in range(850, 1000, 3) if odd == "deep" else (1,):
        said = {"event": '"x"', "job_id": '"1"', "attempt": "1"}
        said[name] = "[" * depth + "]" * depth if odd == "deep" else odd
        pipe.fill(b"{%s}\n" % ",".join(f'"{key}":{text}' for key, text in said.items()).encode())
        assert reading.read(pipe.reading)
    assert all(told["worker"] == 3 for told in lines(log))


@pytest.mark.parametrize(
    "instant",
    [None, 7, "", "now", "2026-01-01T00:00:00.000000Z\x1b", "2025-12-31T00:00:00.000000Z",
     "2026-01-02T00:00:00.000001Z", "2026-01-01T10:00:00.00000\u0661Z"],
)  # fmt: skip
def test_an_instant_at_which_it_cannot_have_been_written_is_that_of_its_arrival(
    instant: object,
) -> None:
    told = bound({"event": "x", "timestamp": instant}, 3, NOBODY, (FIRST, LAST))
    assert told["timestamp"] == LAST


def test_lines_that_come_in_pieces_are_whole(pipe: Pipe, log: io.StringIO) -> None:
    reader, text = relay(), line("one", text="é") + line("two")
    for n in range(0, len(text), 7):
        pipe.fill(text[n : n + 7])
        assert reader.read(pipe.reading)
    assert [(told["event"], told["worker"]) for told in lines(log)] == [("one", 3), ("two", 3)]


def test_what_is_no_line_is_output_and_an_endless_one_is_cut(pipe: Pipe, log: io.StringIO) -> None:
    strays: list[bytes] = []
    reader = relay(strays.append)
    pipe.fill(b"no line\n" + line("one"))
    reader.read(pipe.reading)
    for _ in range(3):
        pipe.fill(b"x" * 60_000)
        reader.read(pipe.reading)
    assert strays[0] == b"no line"
    assert all(len(stray) <= 2 * TURN for stray in strays)
    assert len(strays) > 1
    assert [told["event"] for told in lines(log)] == ["one"]


def test_a_worker_that_logs_more_than_its_share_waits_and_what_it_leaves_is_counted(
    pipe: Pipe, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("portico.supervisor.relay.monotonic", lambda: now)
    reader, written = relay(), 0
    for _ in range(50):
        pipe.fill(line("x") * 100)
        written += 100
        for _ in range(2):
            reader.read(pipe.reading)
    assert reader.pause
    told = len(lines(log))
    reader.read(pipe.reading)
    assert len(lines(log)) == told < written
    now = 0.1
    reader.read(pipe.reading)
    assert told < len(lines(log)) < told + 500
    reader.read_last(pipe.reading)
    (dropped,) = [one for one in lines(log) if one["event"] == "worker_log_dropped"]
    assert dropped["worker"] == 3
    assert len(lines(log)) - 1 + dropped["lines"] == written


HOSTILE = {
    "newlines": b"\n" * TURN,
    "short lines": b"a\n" * (TURN // 2),
    "URLs": b"x://a:\n" * (TURN // 7),
    "one line": b"://a:" * (TURN // 5),
    "returns": b"\r" * TURN,
    "small objects": b'{"event":1}\n' * (TURN // 12),
    "a large object": b'{"event":"' + b"\\u200b" * 10_000 + b'"}\n',
    "a deep one": b'{"event":' + b"[" * 500 + b"]" * 500 + b"}\n",
    "a long number": b'{"event":' + b"9" * 60_000 + b"}\n",
}


@pytest.mark.security("S8")
@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_turn_takes_milliseconds_whatever_there_is_to_read(
    data: bytes, pipe: Pipe, log: io.StringIO
) -> None:
    """Of the processor: the machine may be busy with something else."""
    fcntl = pytest.importorskip("fcntl")
    fcntl.fcntl(pipe.writing, getattr(fcntl, "F_SETPIPE_SZ", 1031), 4 * TURN)
    for text in (data, KEY * (TURN // 8), frame(KEY, b'{"job_id":"x"}', b"\n") * (TURN // 28)):
        assert min(_turn(OutputLog(3), text, pipe) for _ in range(3)) < 0.1
        assert min(_turn(relay(OutputLog(3).take_bare), text, pipe) for _ in range(3)) < 0.1
    del log


def _turn(reader: OutputLog | LogRelay, text: bytes, pipe: Pipe) -> float:
    """Seconds of the processor that it takes to read this."""
    if isinstance(reader, OutputLog):
        reader.reader.key = KEY
    pipe.fill(text)
    begun = time.thread_time()
    reader.read(pipe.reading)
    taken = time.thread_time() - begun
    while _read(pipe.reading):
        pass
    return taken


def test_of_a_flood_the_last_lines_are_kept_and_all_are_counted(
    pipe: Pipe, log: io.StringIO
) -> None:
    output = OutputLog(3)
    for n in range(4):
        pipe.fill(b"".join(b"%d %d\n" % (n, m) for m in range(5000)))
        for _ in range(TURN // 2**14):
            assert output.read(pipe.reading)
    output.flush()
    assert output.since(0.0).splitlines()[-250:] == [f"3 {m}" for m in range(4750, 5000)]
    told = [one for one in lines(log) if one["event"] == "worker_output"]
    dropped = [one for one in lines(log) if one["event"] == "worker_output_dropped"]
    assert len(told) + sum(one["lines"] for one in dropped) == 20_000
    assert [one["line"] for one in told[:200]] == [f"0 {m}" for m in range(200)]


def test_long_lines_of_several_threads_do_not_mix_in_a_small_pipe(pipe: Pipe) -> None:
    log_to(PipeOutput(pipe.writing, 1000 * int(PATIENCE)), 0)
    try:
        data, logger = b"", get_logger("acme")
        threads = [
            threading.Thread(target=logger.info, args=(str(n),), kwargs={"text": str(n) * 40_000})
            for n in range(6)
        ]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            data += _read(pipe.reading)
        data += _read(pipe.reading)
    finally:
        reset_logging()
    told = [json.loads(text) for text in data.splitlines()]
    assert sorted(one["event"] for one in told) == [str(n) for n in range(6)]
    assert all(one["text"] == one["event"] * 40_000 for one in told)


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 1 << 20)
    except BlockingIOError:
        return b""


def test_lines_that_nobody_reads_are_lost_after_a_moment_and_counted_in_the_next(
    pipe: Pipe,
) -> None:
    output = PipeOutput(pipe.writing, 1)
    log_to(output, 0)
    try:
        logger = get_logger("acme")
        for n in range(10):
            logger.info("x", text="y" * 30_000, n=n)
        data = b""
        while more := _read(pipe.reading):
            data += more
        logger.info("last")
        data += _read(pipe.reading)
    finally:
        reset_logging()
    told = [fields for text in data.splitlines() if (fields := fields_of(text))]
    assert told[-1]["event"] == "last"
    assert told[-1]["lost_lines"] == output.dropped == 10 - (len(told) - 1)
    assert [one["n"] for one in told[:-1]] == [*range(len(told) - 1)]
