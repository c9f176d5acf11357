"""What the log promises: one place, one line per event, the context on it, and no harm done."""

from __future__ import annotations

import asyncio
import contextvars
import errno
import io
import json
import logging
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import click
import pytest
import structlog

from portico.exceptions import ConfigurationError
from portico.utils.logging import (
    bind_context,
    clear_context,
    configure_logging,
    current_context,
    dropped_lines,
    get_logger,
    log_context,
    reset_logging,
)

log = get_logger("portico.test")


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    yield
    reset_logging()
    clear_context()


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


def events(out: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_console_line_has_time_level_logger_event_and_values(out: io.StringIO) -> None:
    configure_logging(stream=out)
    log.info("job done", queue="mail", note="two words")
    line = out.getvalue()
    assert line.endswith('INFO     portico.test: job done queue=mail note="two words"\n')
    assert line.split()[0].endswith("Z")


def test_a_json_line_is_one_object_with_a_utc_timestamp(out: io.StringIO) -> None:
    configure_logging(log_format="json", stream=out)
    job_id = uuid4()
    log.warning("late", job_id=job_id, seconds=1.5, where=Path("/x"), bad=float("nan"))
    (event,) = events(out)
    assert str(event.pop("timestamp")).endswith("Z")
    assert event == {
        "level": "warning", "logger": "portico.test", "event": "late",
        "job_id": str(job_id), "seconds": 1.5, "where": "/x", "bad": "nan",
    }  # fmt: skip


def test_lines_below_the_level_are_not_written(out: io.StringIO) -> None:
    configure_logging("warning", stream=out)
    log.info("no")
    log.log(logging.DEBUG, "no")
    logging.getLogger("app").info("no")
    assert out.getvalue() == ""
    assert not log.is_enabled_for(logging.INFO)


async def test_async_methods_obey_the_level_too(out: io.StringIO) -> None:
    configure_logging("warning", "json", stream=out)
    await log.ainfo("no")
    await log.awarning("yes")
    assert [event["event"] for event in events(out)] == ["yes"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"log_level": "LOUD"}, ("log_level", "'LOUD'", "WARNING")),
        ({"log_format": "xml"}, ("log_format", "'xml'", "json")),
        ({"log_output": "printer"}, ("log_output", "'printer'", "stderr")),
        ({"log_output": "file"}, ("log_file_path", "empty")),
        ({"log_output": "file", "log_file_path": "/no/dir/x"}, ("/no/dir/x", "No such file")),
    ],
)
def test_a_bad_argument_is_refused_by_name_and_changes_nothing(
    out: io.StringIO, arguments: dict[str, str], words: tuple[str, ...]
) -> None:
    configure_logging(stream=out)
    with pytest.raises(ConfigurationError) as caught:
        configure_logging(**arguments)
    assert all(word in str(caught.value) for word in words)
    log.info("still here")
    assert "still here" in out.getvalue()


def test_a_file_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "portico.log"
    for text in ("first", "second"):
        configure_logging(log_output="file", log_file_path=path)
        log.info(text)
        reset_logging()
    assert [line.split()[-1] for line in path.read_text().splitlines()] == ["first", "second"]


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_lines_go_to_the_standard_streams(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging(log_output=name)
    log.info("hello")
    assert "hello" in getattr(capfd.readouterr(), name[3:])


def test_a_module_level_logger_follows_a_later_configuration(out: io.StringIO) -> None:
    configure_logging("ERROR", stream=out)
    log.info("before")
    configure_logging("DEBUG", stream=out)
    log.debug("after")
    assert "before" not in out.getvalue()
    assert "after" in out.getvalue()


def test_standard_and_structlog_loggers_share_the_output_and_the_context(out: io.StringIO) -> None:
    configure_logging(log_format="json", stream=out)
    bind_context(job_id="j1")
    log.info("ours")
    logging.getLogger("app.mail").info("sent %d", 3, extra={"to": "x"})
    structlog.get_logger("app.other").info("theirs")
    ours, standard, theirs = events(out)
    assert {event["job_id"] for event in (ours, standard, theirs)} == {"j1"}
    assert (standard["event"], standard["logger"], standard["to"]) == ("sent 3", "app.mail", "x")
    assert theirs["logger"] == "app.other"


def test_values_of_the_call_win_over_the_logger_and_those_over_the_context(
    out: io.StringIO,
) -> None:
    configure_logging(log_format="json", stream=out)
    bind_context(a="context", b="context", c="context")
    log.bind(a="logger", b="logger").info("x", a="call")
    (event,) = events(out)
    assert (event["a"], event["b"], event["c"]) == ("call", "logger", "context")


def test_log_context_binds_for_a_block_and_restores_what_was_there() -> None:
    bind_context(worker=1)
    with log_context(job_id="j", worker=2):
        assert current_context() == {"worker": 2, "job_id": "j"}
    assert current_context() == {"worker": 1}


async def test_log_context_works_with_async_with() -> None:
    async with log_context(job_id="j"):
        assert current_context() == {"job_id": "j"}
    assert current_context() == {}


async def test_tasks_do_not_see_each_others_context() -> None:
    ready = asyncio.Barrier(2)

    async def job(name: str) -> object:
        bind_context(job=name)
        await ready.wait()
        return current_context()["job"]

    assert await asyncio.gather(job("a"), job("b")) == ["a", "b"]
    assert current_context() == {}


def test_log_context_left_in_another_context_does_no_harm() -> None:
    block = log_context(a=1)
    contextvars.copy_context().run(block.__enter__)
    block.__exit__(None, None, None)
    assert current_context() == {}


def test_line_breaks_and_escapes_cannot_forge_a_line(out: io.StringIO) -> None:
    configure_logging(stream=out)
    evil = "x\n2026-01-01T00:00:00Z INFO forged \x1b[31mred\u2028\u202e\x9b\u200b\ufeff\U000e0041"
    log.info(evil, value=evil, **{"key\n": 1})
    line = out.getvalue()
    assert line.count("\n") == 1
    assert not set("\x1b\u2028\u202e\x9b\u200b\ufeff\U000e0041") & set(line)
    assert r"\x1b[31m" in line


def test_a_json_line_holds_no_terminal_escapes(out: io.StringIO) -> None:
    configure_logging(log_format="json", stream=out)
    log.info("x\x9b31m\u2028\x1b[0m\u200f\U000e0041")
    assert not set("\x1b\u2028\x9b\u200f\U000e0041") & set(out.getvalue())
    assert events(out)[0]["event"] == "x\x9b31m\u2028\x1b[0m\u200f\U000e0041"


def test_every_line_of_a_traceback_is_indented(out: io.StringIO) -> None:
    configure_logging(stream=out)
    try:
        raise ValueError("bad\nINFO forged")
    except ValueError:
        log.exception("it failed")
    first, *rest = out.getvalue().splitlines()
    assert "ERROR    portico.test: it failed" in first
    assert rest
    assert all(line.startswith("    ") for line in rest)
    assert rest[-2].strip() == "ValueError: bad"


def test_a_standard_logger_renders_its_traceback(out: io.StringIO) -> None:
    configure_logging(log_format="json", stream=out)
    try:
        raise ValueError("bad")
    except ValueError:
        logging.getLogger("app").exception("it failed")
    assert str(events(out)[0]["exception"]).endswith("ValueError: bad")


@pytest.mark.parametrize(
    "key", ["password", "DB_PASSWORD", "refresh_token", "accessToken", "dsn", "X-Api-Key",
            "Authorization", "client_secret", "set-cookie", "pin_code"],
)  # fmt: skip
def test_values_of_secret_keys_are_masked_at_any_depth(out: io.StringIO, key: str) -> None:
    configure_logging(log_format="json", stream=out, secret_keys=["PIN"])
    log.info("x", **{key: "hunter2"}, payload={"rows": [{key: "hunter2"}]})
    logging.getLogger("app").info("x", extra={key: "hunter2"})
    assert "hunter2" not in out.getvalue()
    assert out.getvalue().count("***") == 3


def test_ordinary_keys_are_not_masked(out: io.StringIO) -> None:
    configure_logging(stream=out)
    log.info("x", tokens=5, author="ann", key="k1")
    assert "tokens=5 author=ann key=k1" in out.getvalue()


@pytest.mark.parametrize(
    "url",
    ["postgresql://ann:hunter2@host/db", "redis://:hunter2@host", "amqp://u:hun@ter2@h",
     "https://x/y?access_token=hunter2&a=b"],
)  # fmt: skip
def test_a_password_inside_a_url_is_masked_everywhere(out: io.StringIO, url: str) -> None:
    configure_logging(stream=out)
    log.error("cannot reach %s", url, url=url, nested=[{"u": url}], error=OSError(url))
    try:
        raise OSError(url)
    except OSError:
        logging.getLogger("app").exception("cannot reach %s", url)
    assert "ter2" not in out.getvalue()


def test_a_value_whose_repr_raises_is_named_and_the_caller_goes_on(out: io.StringIO) -> None:
    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError("no repr today")

    configure_logging(stream=out)
    log.info("x", value=Broken())
    assert "<Broken, whose repr raises RuntimeError>" in out.getvalue()


def test_arguments_that_do_not_fit_the_text_are_shown_with_it(out: io.StringIO) -> None:
    configure_logging(stream=out)
    log.info("%d of %d", 1)  # noqa: PLE1206 - the mistake is the point
    assert "%d of %d (1,)" in out.getvalue()


def test_half_a_surrogate_pair_is_written_escaped(tmp_path: Path) -> None:
    path = tmp_path / "log"
    configure_logging(log_format="json", log_output="file", log_file_path=path)
    log.info("\ud800")
    assert json.loads(path.read_text())["event"] == "\ud800"


def test_a_broken_pipe_drops_lines_counts_them_and_never_raises() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        configure_logging(stream=stream)
        log.info("gone")
        logging.getLogger("app").info("gone too")
        assert dropped_lines() == 2


def test_a_full_pipe_drops_lines_and_the_next_line_says_how_many() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with os.fdopen(writing, "w") as stream, os.fdopen(reading, "rb", buffering=0) as reader:
        configure_logging(log_format="json", stream=stream)
        while not dropped_lines():
            log.info("x" * 2000)
        reader.read(1 << 20)
        log.info("back")
        assert json.loads(reader.read(1 << 20))["lost_lines"] == 1


def test_a_pipe_that_nobody_reads_holds_up_nobody_and_the_next_line_says_what_was_lost() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream, os.fdopen(reading, "rb", buffering=0) as reader:
        configure_logging(log_format="json", stream=stream)
        while dropped_lines() < 100:
            log.info("x" * 2000)
        assert os.get_blocking(writing)  # others share it, and may rely on that
        reader.read(1 << 20)
        log.info("back")
        assert json.loads(reader.read(1 << 20))["lost_lines"] == 100


def test_a_line_that_tells_of_lost_ones_and_is_lost_itself_is_told_of_with_them() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with os.fdopen(writing, "w") as stream, os.fdopen(reading, "rb", buffering=0) as reader:
        configure_logging(log_format="json", stream=stream)
        while dropped_lines() < 5:
            log.info("x" * 2000)
        reader.read(1 << 20)
        log.info("back")
        log.info("and on")
        first, second = reader.read(1 << 20).splitlines()
        assert json.loads(first)["lost_lines"] == 5
        assert "lost_lines" not in json.loads(second)


def test_a_line_of_which_only_a_part_was_written_does_not_swallow_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fills up takes what it has room for."""
    path, write, room = tmp_path / "log", os.write, [20, 0, 0]

    def writing(fd: int, data: bytes) -> int:
        if not room:
            return write(fd, data)
        if (taken := room.pop(0)) == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, data[:taken])

    configure_logging(log_format="json", log_output="file", log_file_path=path)
    monkeypatch.setattr("portico.utils.log_output.os.write", writing)
    for event in ("torn", "lost", "whole", "and on"):
        log.info(event)
    torn, whole, last = path.read_text().splitlines()
    assert len(torn) == 20
    assert json.loads(whole)["event"] == "whole"
    assert json.loads(whole)["lost_lines"] == 2
    assert json.loads(last)["event"] == "and on"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_drops_lines_and_never_raises() -> None:
    configure_logging(log_output="file", log_file_path="/dev/full")
    log.info("x")
    assert dropped_lines() == 1


def test_a_closed_stream_drops_lines_and_never_raises(out: io.StringIO) -> None:
    configure_logging(stream=out)
    out.close()
    log.info("x")
    assert dropped_lines() == 1


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_a_line_to_a_pipe_fits_one_atomic_write_with_both_ends_of_its_traceback(
    log_format: str,
) -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream, os.fdopen(reading, "rb", buffering=0) as reader:
        configure_logging(log_format=log_format, stream=stream)
        try:
            raise ValueError("é" * 9000 + "the end")
        except ValueError:
            log.exception("boom", payload={"k": "v" * 5000}, job_id="j1")
        data = reader.read(1 << 20)
    assert len(data) <= 4096
    assert data.endswith(b"\n")
    assert b"characters cut" in data
    assert b"Traceback" in data
    assert b"the end" in data
    assert b"j1" in data


def test_lines_of_processes_that_share_a_pipe_do_not_mix() -> None:
    program = (
        "import sys; from portico.utils.logging import *; configure_logging(log_format='json');"
        "log = get_logger('p'); [log.info(sys.argv[1] * 1500) for _ in range(300)]"
    )
    reading, writing = os.pipe()
    workers = [
        subprocess.Popen([sys.executable, "-c", program, letter], stdout=writing)
        for letter in "abc"
    ]
    os.close(writing)
    with os.fdopen(reading, "rb") as reader:
        lines = reader.read().splitlines()
    assert [worker.wait() for worker in workers] == [0, 0, 0]
    assert len(lines) == 900
    assert all(len(set(json.loads(line)["event"])) == 1 for line in lines)


def test_a_forked_child_does_not_close_a_descriptor_that_is_another_files_by_now(
    tmp_path: Path,
) -> None:
    program = (
        "import os, sys; from portico.utils.logging import *;"
        "configure_logging(log_output='file', log_file_path=sys.argv[1]);"
        "number = max(map(int, os.listdir('/proc/self/fd'))) - 1;"
        "child = os.fork() == 0;"
        "child and os.dup2(1, number);"
        "child and (reset_logging() or os.write(number, b'open'));"
        "child or os.wait()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "log")], capture_output=True, check=False
    )
    assert (done.stdout, done.stderr) == (b"open", b"")


def test_threads_write_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "log"
    configure_logging(log_format="json", log_output="file", log_file_path=path)
    threads = [
        threading.Thread(target=lambda: [log.info("x" * 300) for _ in range(100)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([json.loads(line) for line in path.read_text().splitlines()]) == 400


def test_without_configuration_lines_go_to_the_standard_loggers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, "portico.test"), log_context(job_id="j"):
        log.info("hello %s", "you", password="hunter2")
        log.debug("no")
    (record,) = caplog.records
    assert record.name == "portico.test"
    assert record.getMessage() == "hello you password=*** job_id=j"


def test_a_traceback_of_a_job_is_printed_as_one_on_a_terminal_and_within_its_line_elsewhere(
    out: io.StringIO,
) -> None:
    told = "Traceback:\n  here\x1b[2J\nValueError: x\n"
    ours, theirs = pty.openpty()
    with open(theirs, "w") as terminal, open(ours, "rb", buffering=0) as screen:
        for stream in (terminal, out):
            configure_logging(stream=stream)
            log.error("job_failed", traceback=told, next="z")
            reset_logging()
        head, *block = click.unstyle(screen.read(10_000).decode()).splitlines()
    assert head.endswith("portico.test: job_failed next=z")
    assert block == ["    Traceback:", "      here\\x1b[2J", "    ValueError: x"]
    (line,) = out.getvalue().splitlines()
    assert line.endswith(r'traceback="Traceback:\n  here\x1b[2J\nValueError: x\n" next=z')


def test_what_goes_to_a_file_beside_the_terminal_stays_a_line_for_each_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = pty.openpty()
    with open(theirs, "w") as terminal, open(ours, "rb"):
        monkeypatch.setattr(sys, "stdout", terminal)
        configure_logging(log_output="both", log_file_path=tmp_path / "log")
        log.error("job_failed", traceback="Traceback:\n  here\n")
        reset_logging()
    assert len((tmp_path / "log").read_text().splitlines()) == 1


def test_importing_the_library_configures_nothing() -> None:
    program = (
        "import logging; before = logging.root.level, list(logging.root.handlers);"
        "import structlog, portico.utils.logging as l; l.get_logger('x').info('quiet');"
        "assert (logging.root.level, logging.root.handlers) == before;"
        "assert not structlog.is_configured()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_reset_logging_puts_the_standard_library_back_as_it_was(out: io.StringIO) -> None:
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    configure_logging("DEBUG", stream=out)
    configure_logging("ERROR", stream=out)
    reset_logging()
    assert (root.level, root.handlers) == before
    assert not structlog.is_configured()


def test_structlogs_own_capture_sees_our_loggers(out: io.StringIO) -> None:
    configure_logging(stream=out)
    with structlog.testing.capture_logs() as captured:
        log.info("seen", n=1)
    assert captured == [{"event": "seen", "n": 1, "log_level": "info"}]
    log.info("written")
    assert "written" in out.getvalue()
