"""Bad input through the command, the service, a handler and the supervisor: refused with a message
that names the value, the place and the way out, and nothing is stored or started."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from portico import compose
from portico.exceptions import ConfigurationError, QueueConnectionError, ValidationError
from portico.kits.job import JobService
from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from tests.support.jobs import ended, make_job
from tests.support.supervisors import ROOT, Place

SUPERVISOR = ("-m", "portico.supervisor")
COMMAND = ("-m", "portico.cli")

CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, PR_CAPBSET_DROP = 1, 2, 24
UNPRIVILEGED = f"""
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
for capability in ({CAP_DAC_OVERRIDE}, {CAP_DAC_READ_SEARCH}):
    if os.getuid() == 0 and libc.prctl({PR_CAPBSET_DROP}, capability, 0, 0, 0):
        sys.exit(77)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
"""Root without the right to ignore file modes, like anybody else."""


def run(
    folder: Path, *arguments: str, stdin: str = "", heed_modes: bool = False
) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PORTICO_")}
    prefix = ("-c", UNPRIVILEGED) if heed_modes else ()
    result = subprocess.run(
        [sys.executable, *prefix, *arguments],
        cwd=folder, env={**kept, "PYTHONPATH": str(ROOT)}, input=stdin,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if result.returncode == 77:
        pytest.skip("root here cannot give up its right to ignore file modes")
    return result


def depth(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


# Jobs


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--queue-name", "x"], 2, ("No such option", "--queue-name")),
        (["--at", "2026-02-30T00:00"], 2, ("--at", "2026-02-30", "ISO 8601")),
        (["--at", "9999-12-31T23:59:59Z"], 4, ("scheduled_at", "9999-12-31", "before 2255")),
        (["--at", "0001-01-01T00:00"], 4, ("scheduled_at", "0001-01-01", "1970 to 2254")),
        (["--in", "99999999999d"], 2, ("--in", "99999999999d", "at most 36500d")),
        (["--in", "-5"], 2, ("--in", "-5", "5m")),
        (["--priority", "99999999999"], 4, ("priority is 99999999999", "whole number")),
        (["--priority", "high"], 2, ("--priority", "high")),
        (["--id", "not-a-uuid"], 2, ("--id", "not-a-uuid", "UUID")),
    ],
    ids=str,
)
def test_the_command_refuses_an_option_that_cannot_be(
    arguments: list[str], code: int, words: tuple[str, ...], tmp_path: Path
) -> None:
    result = run(tmp_path, *COMMAND, "enqueue", "a.b", "{}", *arguments)
    assert result.returncode == code
    assert all(word in " ".join(result.stderr.split()) for word in words), result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ("[1]", ("payload is a list", "JSON object")),
        ("7", ("payload is", "JSON object")),
        ('{"n": NaN}', ("payload['n'] is nan", "null")),
        (depth(65), ("payload['a']", "deeper than 64", "flatten")),
        (depth(5000), ("payload", "deeper than 64", "flatten")),
        ('{"a": "' + "x" * 1_100_000 + '"}', ("1,048,576", "a file or an object store")),
        ("{'a': 1}", ("is not JSON", "in quotes")),
    ],
    ids=["array", "number", "nan", "65 levels", "5000 levels", "too large", "no json"],
)
def test_the_command_refuses_a_payload_that_cannot_be(
    payload: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    result = run(tmp_path, *COMMAND, "enqueue", "a.b", "-", stdin=payload)
    assert result.returncode == 4
    assert all(word in result.stderr for word in words), result.stderr
    assert len(result.stderr.splitlines()) == 1
    line = json.dumps({"type": "a.b"})[:-1] + f', "payload": {payload}}}\n'
    bulk = run(tmp_path, *COMMAND, "enqueue", "-", stdin=line)
    assert bulk.returncode == 4
    assert bulk.stderr.startswith("portico: <stdin>:1: ")
    assert "Traceback" not in bulk.stderr
    assert bulk.stdout == "0 jobs stored, 1 line refused\n"


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"at": "9999-12-31T23:59:59-12:00"}, ("scheduled_at", "1970 to 2254")),
        ({"at": "0001-01-01T00:00"}, ("scheduled_at", "1970 to 2254")),
        ({"at": 5}, ("scheduled_at is 5", "datetime")),
        ({"in": "99999999999d"}, ("in is '99999999999d'", "36500d")),
        ({"in": "soon"}, ("in is 'soon'", "5m")),
        ({"prio": 5}, ("unknown key 'prio'", "priority")),
    ],
    ids=str,
)
def test_a_line_that_cannot_be_a_job_is_refused_by_its_number(
    entry: dict[str, Any], words: tuple[str, ...], tmp_path: Path
) -> None:
    good = {"type": "a.b", "payload": {}}
    lines = "".join(json.dumps(line) + "\n" for line in (good, {**good, **entry}, good))
    result = run(tmp_path, *COMMAND, "enqueue", "-", stdin=lines)
    assert result.returncode == 4
    assert result.stderr.startswith("portico: <stdin>:2: ")
    assert all(word in result.stderr for word in words), result.stderr
    assert result.stdout == "2 jobs stored, 1 line refused\n"


def test_an_id_that_exists_is_a_conflict_that_names_it(tmp_path: Path) -> None:
    taken = str(uuid4())
    assert run(tmp_path, *COMMAND, "enqueue", "a.b", '{"n": 1}', "--id", taken).returncode == 0
    again = run(tmp_path, *COMMAND, "enqueue", "a.b", '{"n": 2}', "--id", taken)
    assert again.returncode == 4
    assert f"a job with id {taken} exists already; it was left as it was" in again.stderr
    shown = run(tmp_path, *COMMAND, "jobs", "show", taken, "--json")
    assert json.loads(shown.stdout)["payload"] == {"n": 1}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"payload": "text"}, ("payload is", "JSON object")),
        ({"payload": {1: "x", "1": "y"}}, ("payload", "'1'", "rename")),
        ({"payload": json.loads(depth(65))}, ("payload['a']", "deeper than 64", "flatten")),
        ({"payload": {"at": timedelta(1)}}, ("payload['at']", "timedelta", "total_seconds")),
        ({"scheduled_at": datetime.max.replace(tzinfo=UTC)}, ("scheduled_at", "before 2255")),
        ({"scheduled_at": datetime.min}, ("scheduled_at", "1970 to 2254")),  # noqa: DTZ901
        (
            {"scheduled_at": datetime.max.replace(tzinfo=timezone(timedelta(hours=-12)))},
            ("scheduled_at", "1970 to 2254"),
        ),
        ({"job_type": None}, ("job_type is None", "letters, digits")),
    ],
)
async def test_the_service_refuses_by_value_place_and_way_out(
    arguments: dict[str, Any], words: tuple[str, ...], queue: JobQueueAdapter
) -> None:
    with pytest.raises(ValidationError) as caught:
        await JobService(queue).create_job(**{"job_type": "a.b", "payload": {}, **arguments})
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert await queue.all_stats() == {}


async def test_what_a_handler_creates_is_held_to_the_same_rules(
    here: Place, queue: JobQueueAdapter
) -> None:
    jobs = {}
    for name, options in {
        "priority": {"priority": "high"},
        "max_retries": {"max_retries": -1},
        "scheduled_at": {"scheduled_at": "tomorrow"},
        "unknown option 'dealy'": {"dealy": 5},
    }.items():
        jobs[name] = await queue.enqueue(
            make_job(job_type="test.parent", payload={"options": options}, max_retries=0)
        )
    here.supervisor("--drain")
    for name, job in jobs.items():
        dead = await ended(queue, job.id)
        assert dead.status is JobStatus.DEAD_LETTER
        assert name in (dead.error_message or "")
        record = await queue.inspect(job.id)
        assert record is not None
        assert record.error_type == "ValidationError"


async def test_a_result_or_a_return_that_cannot_be_kept_says_what_and_how(
    here: Place, queue: JobQueueAdapter
) -> None:
    odd = await queue.enqueue(make_job(job_type="test.odd_result"))
    wrong = await queue.enqueue(make_job(job_type="test.wrong_return"))
    supervisor = here.supervisor("--drain")
    assert await supervisor.ended() == 0
    message = (await ended(queue, odd.id)).error_message or ""
    assert "result_data['value']" in message
    assert "object" in message
    message = (await ended(queue, wrong.id)).error_message or ""
    assert "int" in message
    assert "JobResult" in message


# Stores


def test_a_read_only_file_is_refused_by_the_command_and_the_supervisor(tmp_path: Path) -> None:
    assert run(tmp_path, *COMMAND, "enqueue", "a.b", "{}").returncode == 0
    (tmp_path / "portico.db").chmod(0o400)
    before = (tmp_path / "portico.db").read_bytes()
    for arguments in (
        (*COMMAND, "enqueue", "a.b", "{}"),
        (*SUPERVISOR, "--drain", "-w", "1"),
        (*SUPERVISOR, "--check"),
    ):
        result = run(tmp_path, *arguments, heed_modes=True)
        assert result.returncode == 1, result.stderr
        assert "sqlite:///portico.db" in result.stderr
        assert "is read-only for this user" in result.stderr
        assert "Traceback" not in result.stderr
    assert (tmp_path / "portico.db").read_bytes() == before


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    assert run(tmp_path, *COMMAND, "enqueue", "a.b", "{}").returncode == 0
    (tmp_path / "portico.db").chmod(0o200)
    for arguments in ((*COMMAND, "status"), (*SUPERVISOR, "--drain", "-w", "1")):
        result = run(tmp_path, *arguments, heed_modes=True)
        assert result.returncode == 1, result.stderr
        assert "portico.db" in result.stderr
        assert "this user" in result.stderr
        assert "Traceback" not in result.stderr


def test_a_folder_that_may_not_be_written_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o500)
    url = f"sqlite:///{folder}/jobs.db"
    try:
        for arguments in (
            (*COMMAND, "--queue-url", url, "enqueue", "a.b", "{}"),
            (*SUPERVISOR, "--queue-url", url, "--drain", "-w", "1"),
        ):
            result = run(tmp_path, *arguments, heed_modes=True)
            assert result.returncode == 1, result.stderr
            assert "must be able to write the file and its directory" in result.stderr
            assert "Traceback" not in result.stderr
    finally:
        folder.chmod(0o700)


def test_a_newer_schema_is_refused_by_the_command_too(tmp_path: Path) -> None:
    assert run(tmp_path, *COMMAND, "enqueue", "a.b", "{}").returncode == 0
    with closing(sqlite3.connect(tmp_path / "portico.db")) as database, database:
        database.execute("UPDATE portico_schema SET version = 9999")
    database.close()
    for arguments in (("status",), ("enqueue", "a.b", "{}"), ("jobs", "list")):
        result = run(tmp_path, *COMMAND, *arguments)
        assert result.returncode == 1
        assert "9999" in result.stderr
        assert "portico.db" in result.stderr
        assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "url", ["jobs.db", "sqlite://", "sqlite:///", "mysql://u:secret@host/db", "sqlite:///a.db?x=1",
     "sqlite:///a%00b.db"],
)  # fmt: skip
async def test_the_command_and_the_service_refuse_a_bad_url_without_telling_its_password(
    url: str, tmp_path: Path
) -> None:
    result = run(tmp_path, *COMMAND, "--queue-url", url, "enqueue", "a.b", "{}")
    assert result.returncode == 1
    assert "queue URL" in result.stderr
    assert "secret" not in result.stderr
    assert len(result.stderr.splitlines()) == 1
    read = run(tmp_path, *COMMAND, "--queue-url", url, "status")
    assert (read.returncode, read.stderr) == (1, result.stderr)
    with pytest.raises(ConfigurationError) as caught:
        compose.job_service(url)
    assert "queue URL" in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_a_service_that_was_not_opened_says_so(tmp_path: Path) -> None:
    service = compose.job_service(f"sqlite:///{tmp_path / 'jobs.db'}")
    with pytest.raises(QueueConnectionError, match=r"await queue\.initialize\(\)"):
        await service.create_job("a.b", {})


# The supervisor


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--frobnicate"], 2, ("--frobnicate",)),
        (["extra"], 2, ("extra",)),
        (["--workers", "-1"], 1, ("--workers is '-1'", "from 1 to")),
        (["--concurrency", "0"], 1, ("--concurrency is '0'", "from 1 to")),
        (["--job-timeout", "-5"], 1, ("--job-timeout is '-5'", "5m")),
        (["--lease", "0"], 1, ("--lease is '0'", "at least one second")),
        (["--queues", "\udcff"], 1, (r"--queues is '\udcff'", "letters")),
        (["--app", "\udcff:app"], 1, (r"--app is '\udcff:app'", "no text", "module:attribute")),
        (["--queues", "a b"], 1, ("--queues is 'a b'", "letters")),
        (["--start-method", "fork"], 1, ("--start-method is 'fork'", "zygote, spawn")),
        (["--log-level", "LOUD"], 1, ("--log-level is 'LOUD'", "WARNING")),
        (["--log-format", "xml"], 1, ("--log-format is 'xml'", "console, json")),
        (["--max-memory-per-worker", "lots"], 1, ("is 'lots'", "512M")),
        (["--max-jobs-per-worker", "0"], 1, ("--max-jobs-per-worker is '0'", "at least 1")),
        (["--app", "nocolon"], 4, ("--app is 'nocolon'", "myproject.jobs:app")),
        (["--app", "json:nothing"], 4, ("--app is 'json:nothing'", "no attribute")),
        (["--pid-file", "nowhere/x.pid"], 1, ("--pid-file nowhere/x.pid",)),
        (["--audit-url", "bogus"], 1, ("audit URL is 'bogus'", "sqlite:///audit.db")),
    ],
    ids=str,
)
def test_the_supervisor_refuses_an_option_that_cannot_be(
    arguments: list[str], code: int, words: tuple[str, ...], tmp_path: Path
) -> None:
    result = run(tmp_path, *SUPERVISOR, "--drain", *arguments)
    assert result.returncode == code, result.stderr
    assert all(word in result.stderr for word in words), result.stderr
