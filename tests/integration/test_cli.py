"""The real command, in processes of its own, on a SQLite file."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import shlex
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import pytest

from portico.adapters.job_queue import DatabaseJobQueueAdapter
from portico.ports.leasing import Failure, Settlement, Transition

COMMAND = [sys.executable, "-m", "portico.cli"]

Portico = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environment() -> dict[str, str]:
    root = str(Path(__file__).parents[2])
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PORTICO_")}
    return {**kept, "PYTHONPATH": root, "PYTHONWARNINGS": "error"}


@pytest.fixture
def portico(tmp_path: Path, environment: dict[str, str]) -> Portico:
    def call(*arguments: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *arguments], input=stdin, env={**environment, **env}, cwd=tmp_path,
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    return call


def start(tmp_path: Path, environment: dict[str, str], *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*COMMAND, *arguments], env=environment, cwd=tmp_path,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


async def bury(path: Path) -> None:
    queue = DatabaseJobQueueAdapter(f"sqlite:///{path}")
    await queue.initialize()
    (lease,) = (await queue.exchange([], ["default"], 1)).leases
    failure = Failure("ValueError", "no such user", "Traceback (most recent call last)")
    ended = Settlement(lease.id, lease.token, Transition.RETRY, failure=failure)
    await queue.exchange([ended], [], 0)
    await queue.close()


def test_a_job_is_enqueued_counted_listed_shown_and_cancelled(
    portico: Portico, tmp_path: Path
) -> None:
    created = portico("enqueue", "email.send", '{"to": "ann"}')
    job_id = created.stdout.strip()
    assert (created.returncode, created.stderr) == (0, "")
    assert (tmp_path / "portico.db").exists()
    assert json.loads(portico("status", "--json").stdout)["queues"][0]["pending"] == 1
    assert job_id in portico("jobs", "list").stdout
    assert '"to": "ann"' in portico("jobs", "show", job_id).stdout
    assert portico("jobs", "cancel", job_id).returncode == 0
    again = portico("jobs", "cancel", job_id)
    assert (again.returncode, again.stdout) == (4, "")
    assert "is failed and was not cancelled" in again.stderr


async def test_a_dead_job_is_listed_shown_requeued_and_purged(
    portico: Portico, tmp_path: Path
) -> None:
    job_id = portico("enqueue", "a.b", "{}", "--max-retries", "0").stdout.strip()
    await bury(tmp_path / "portico.db")
    assert "no such user" in portico("dead", "list").stdout
    assert "Traceback (most recent call last)" in portico("dead", "show", job_id).stdout
    assert portico("dead", "purge", "--older-than", "1d", "--yes").stdout == "0 jobs deleted\n"
    assert portico("dead", "requeue", job_id).returncode == 0
    await bury(tmp_path / "portico.db")
    assert portico("dead", "purge").returncode == 2
    assert portico("dead", "purge", "--yes").stdout == "1 job deleted\n"
    assert portico("jobs", "show", job_id).returncode == 3


def test_thousands_of_lines_come_in_through_a_pipe(portico: Portico) -> None:
    lines = [json.dumps({"type": "a.b", "payload": {"n": n}}) for n in range(2500)]
    lines[1200] = "oops"
    done = portico("enqueue", "-", "--queue", "bulk", stdin="\n".join(lines))
    assert (done.returncode, done.stdout) == (4, "2,499 jobs stored, 1 line refused\n")
    assert done.stderr.startswith("portico: <stdin>:1201: not JSON")
    assert json.loads(portico("status", "--json").stdout)["queues"][0]["total"] == 2499


@pytest.mark.parametrize(
    "arguments",
    [["status"], ["jobs", "list"], ["dead", "list"], ["dead", "purge", "--yes"],
     ["dead", "requeue", "--all"]],
)  # fmt: skip
def test_a_verb_that_reads_does_not_make_a_missing_database(
    portico: Portico, tmp_path: Path, arguments: list[str]
) -> None:
    done = portico(*arguments, "--queue-url", "sqlite:///mistyped.db")
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no file 'mistyped.db'; name the right one with --queue-url" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_store_is_named_by_flag_then_environment_then_file(
    portico: Portico, tmp_path: Path
) -> None:
    (tmp_path / "portico.toml").write_text('queue_url = "sqlite:///file.db"\n')
    environment = {"PORTICO_QUEUE_URL": "sqlite:///env.db"}
    portico("enqueue", "a.b", "{}")
    portico("enqueue", "a.b", "{}", **environment)
    portico("enqueue", "a.b", "{}", "-u", "sqlite:///flag.db", **environment)
    portico("-u", "sqlite:///root.db", "enqueue", "a.b", "{}", **environment)
    made = {path.name for path in tmp_path.glob("*.db")}
    assert made == {"file.db", "env.db", "flag.db", "root.db"}


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("oracle://ann:hunter2@db/x", "oracle://ann:***@db/x"),
        ("memory://", "lives inside of one process"),
        ("sqlite:///no/such/dir/jobs.db", "no/such/dir"),
    ],
)
def test_a_store_that_cannot_be_used_is_one_line_without_a_traceback(
    portico: Portico, url: str, words: str
) -> None:
    for arguments in (["status"], ["enqueue", "a.b", "{}"]):
        done = portico(*arguments, "-u", url)
        assert done.returncode == 1
        assert words in done.stderr
        assert done.stderr.count("\n") == 1
        assert "Traceback" not in done.stderr
        assert "hunter2" not in done.stderr


def test_a_file_that_is_no_database_is_one_line(portico: Portico, tmp_path: Path) -> None:
    (tmp_path / "jobs.db").write_text("not a database at all" * 100)
    done = portico("status", "-u", "sqlite:///jobs.db")
    assert done.returncode == 1
    assert "jobs.db" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_reader_that_goes_away_ends_the_command_quietly(
    portico: Portico, tmp_path: Path, environment: dict[str, str]
) -> None:
    portico("enqueue", "-", stdin='{"type": "a.b", "payload": {}}\n' * 1000)
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*COMMAND, "jobs", "list", "-n", "1000"], env=environment, cwd=tmp_path,
        stdout=writing, stderr=subprocess.PIPE, check=False,
    )  # fmt: skip
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("arguments", [["status"], ["jobs", "list", "--json"], ["--help"]])
def test_output_that_cannot_be_written_is_one_line_and_exit_code_one(
    portico: Portico, tmp_path: Path, environment: dict[str, str], arguments: list[str]
) -> None:
    portico("enqueue", "a.b", "{}")
    for sink, reason in (">/dev/full", "No space left on device"), (">&-", "Bad file descriptor"):
        done = subprocess.run(
            ["sh", "-c", f'exec "$@" {sink}', "sh", *COMMAND, *arguments],
            env=environment, cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        assert done.stderr.startswith(f"portico: cannot write to standard output: {reason}")
        assert done.stderr.count("\n") == 1


def test_a_command_whose_streams_are_all_closed_does_its_work(
    portico: Portico, tmp_path: Path, environment: dict[str, str]
) -> None:
    lines = tmp_path / "jobs.jsonl"
    lines.write_text('{"type": "a.b", "payload": {}}\n')
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *COMMAND, "enqueue", "jobs.jsonl"],
        env=environment, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert json.loads(portico("status", "--json").stdout)["queues"][0]["total"] == 1
    assert portico("migrate", "status").returncode == 0  # its file holds nothing but a database


def test_what_a_terminal_cannot_show_is_spelled_out(portico: Portico) -> None:
    encoding = "latin-1"
    job_id = portico("enqueue", "a.b", '{"price": "5 €", "mood": "💥"}').stdout.strip()
    shown = portico("jobs", "show", job_id, PYTHONIOENCODING=encoding)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert r'"mood": "\U0001f4a5"' in shown.stdout
    document = portico("jobs", "show", "--json", job_id, PYTHONIOENCODING=encoding)
    assert json.loads(document.stdout)["payload"] == {"price": "5 €", "mood": "💥"}
    refused = portico("enqueue", "€", "{}", PYTHONIOENCODING=encoding)
    assert (refused.returncode, refused.stderr.count("\n")) == (4, 1)


def test_colours_are_a_matter_of_the_terminal_and_of_no_color_and_force_color(
    portico: Portico, tmp_path: Path, environment: dict[str, str]
) -> None:
    job_id = portico("enqueue", "a.b", "{}", "--in", "1d").stdout.strip()
    shown = ("jobs", "show", job_id)
    assert "\x1b[34mscheduled\x1b[0m" in portico(*shown, FORCE_COLOR="1").stdout
    plain = on_a_terminal(tmp_path, {**environment, "NO_COLOR": "1"}, *shown)
    assert "status     scheduled\r\n" in plain
    assert "\x1b" not in plain
    colored = on_a_terminal(tmp_path, {**environment, "TERM": "xterm"}, "jobs", "list")
    assert "\x1b[34mscheduled\x1b[0m" in colored
    assert all(len(click.unstyle(line)) <= 80 for line in colored.splitlines())


def on_a_terminal(tmp_path: Path, environment: dict[str, str], *arguments: str) -> str:
    """What the command writes to a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        [*COMMAND, *arguments], env=environment, cwd=tmp_path,
        stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    said = b""
    with suppress(OSError):  # that is how a terminal says that nobody has it open any more
        while read := os.read(ours, 65536):
            said += read
    os.close(ours)
    assert process.wait() == 0
    return said.decode()


def test_what_programs_read_is_json_wherever_they_ask_for_it(portico: Portico) -> None:
    portico("enqueue", "a.b", "{}")
    done = portico("migrate", "status", "--json")
    versions = json.loads(done.stdout)["versions"]
    assert done.returncode == 0
    assert all(version["applied"] for version in versions)
    assert versions[0]["name"]


def test_the_package_is_the_command_too(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "portico", "--version"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout.split()[0]) == (0, "portico,")


def test_an_interrupt_while_reading_lines_says_what_is_stored(
    portico: Portico, tmp_path: Path, environment: dict[str, str]
) -> None:
    process = start(tmp_path, environment, "enqueue", "-")
    assert process.stdin is not None
    process.stdin.write(b'{"type": "a.b", "payload": {}}\n' * 1000)
    process.stdin.flush()
    wait_for_jobs(portico, tmp_path, 1000)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert b"1,000 jobs stored, up to line 1000 of <stdin>" in err


def wait_for_jobs(portico: Portico, tmp_path: Path, count: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if (tmp_path / "portico.db").exists():
            queues: list[dict[str, Any]] = json.loads(
                portico("status", "--json").stdout or "{}"
            ).get("queues", [])
            if queues and queues[0]["total"] == count:
                return
    raise TimeoutError("the jobs did not arrive")


def test_help_is_quick_because_it_loads_no_store_and_no_log(environment: dict[str, str]) -> None:
    program = (
        "import sys; from portico.cli.command import run; run(['--help']);"
        "heavy = {'asyncio', 'structlog', 'rich', 'sqlite3', 'msgspec', 'portico.compose'};"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    "arguments",
    [[], ["enqueue"], ["jobs"], ["jobs", "list"], ["dead"], ["dead", "purge"], ["status"]],
)
def test_every_verb_explains_itself(portico: Portico, arguments: list[str]) -> None:
    done = portico(*arguments, "--help")
    assert done.returncode == 0
    assert "Usage: portico" in done.stdout


def test_a_verb_that_is_not_there_is_a_usage_error(portico: Portico) -> None:
    for arguments, way_out in (
        (["statsu"], "No such command 'statsu'. Did you mean 'status'?"),
        (["dead", "lst"], "No such command 'lst'. Did you mean 'list'?"),
        (["xyz"], "No such command 'xyz'. There are dead, enqueue, jobs, migrate, status,"),
        (["status", "--jsno"], "--json"),
    ):
        done = portico(*arguments)
        assert done.returncode == 2
        assert way_out in done.stderr


@pytest.mark.parametrize("arguments", [["a.b", "-"], ["-"]], ids=" ".join)
def test_input_that_was_closed_is_told_in_words(
    arguments: list[str], tmp_path: Path, environment: dict[str, str]
) -> None:
    line = shlex.join([*COMMAND, "enqueue", *arguments])
    done = subprocess.run(
        ["/bin/sh", "-c", f"{line} <&-"], env=environment, cwd=tmp_path, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "cannot be read: Bad file descriptor" in done.stderr
    assert len(done.stderr.splitlines()) == 1
