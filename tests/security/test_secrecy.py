"""Where a secret may not turn up: logs, errors, the list of processes, messages."""

from __future__ import annotations

import io
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from uuid import UUID

import psutil
import pytest

from portico import compose
from portico.exceptions import ConfigurationError
from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from portico.utils.log_lines import masked_urls
from portico.utils.logging import configure_logging, get_logger, reset_logging
from tests.security.conftest import APP
from tests.support.jobs import ended, make_job
from tests.support.supervisors import ROOT, Place
from tests.support.waiting import wait_until

pytestmark = pytest.mark.security("S7")

CANARY = "canary-7f3a9c"
ENDS = ["well", "raise", "crash", "odd", "huge", "returned"]


@pytest.mark.parametrize("log_format", ["json", "console"])
async def test_payload_metadata_and_result_are_never_logged_however_a_job_ends(
    here: Place, queue: JobQueueAdapter, log_format: str
) -> None:
    documents = {"metadata": {"secret": CANARY}, "max_retries": 0}
    jobs = [
        await queue.enqueue(
            make_job(job_type="test.secretive", payload={"secret": CANARY, "end": end}, **documents)
        )
        for end in ENDS
    ]
    damaged = await queue.enqueue(make_job(job_type="test.secretive", **documents))
    with closing(sqlite3.connect(here.folder / "jobs.db")) as database, database:
        database.execute(
            "UPDATE portico_jobs SET payload = ? WHERE id = ?",
            (f'{{"secret": "{CANARY}'.encode(), damaged.id.bytes),
        )
    database.close()
    await queue.enqueue(make_job(job_type="no.such", payload={"secret": CANARY}, **documents))
    supervisor = here.supervisor(
        "--log-level", "debug", "--log-format", log_format, "--audit-url",
        f"sqlite:///{here.folder / 'audit.db'}", "--job-timeout", "2", "--kill-grace", "100ms",
        app=APP,
    )  # fmt: skip
    for job in jobs:
        await ended(queue, job.id)
    record = await queue.inspect(jobs[2].id)
    assert record is not None
    assert "SIGSEGV" in (record.job.error_message or "")
    hanging = await queue.enqueue(
        make_job(job_type="test.secretive", payload={"secret": CANARY, "end": "hang"}, **documents)
    )
    await wait_until(lambda: _has_begun(queue, hanging.id))
    supervisor.signal(signal.SIGUSR1)
    await supervisor.until(lambda: "worker_stacks" in supervisor.text(), what="the stacks")
    for process in [psutil.Process(supervisor.pid), *supervisor.descendants()]:
        assert CANARY not in " ".join(process.cmdline())
    assert "deadline" in ((await ended(queue, hanging.id)).error_message or "")
    supervisor.signal(signal.SIGTERM)
    assert await supervisor.ended() == 0
    assert "job_completed" in supervisor.text()
    assert CANARY not in supervisor.text()
    page = [await queue.inspect(job.id) for job in [*jobs, hanging, damaged][1:]]
    for found in page:
        assert found is not None
        assert CANARY not in f"{found.job.error_message}{found.traceback}"
    assert CANARY.encode() not in (here.folder / "audit.db").read_bytes()


async def _has_begun(queue: JobQueueAdapter, job_id: UUID) -> bool:
    job = await queue.get_job(job_id)
    return job is not None and job.status is not JobStatus.PENDING


ELSEWHERE = [
    f"postgresql://portico:{CANARY}@db.invalid/jobs",
    f"redis://:{CANARY}@db.invalid/0",
]
URLS = [
    f"postgresql://portico:{CANARY}@db.invalid/jobs?frob=1",
    f"redis://:{CANARY}@db.invalid/0?frob=1",
    f"mysql://u:{CANARY}/x@db.invalid/jobs",
    f"sqlite://u:{CANARY}@db.invalid/jobs.db",
    f"sqlite:///jobs.db?password={CANARY}",
    f"sqlite://u:{CANARY}@h/jobs.db?durability=none",
    f"memory://u:{CANARY}@h",
]


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("way", ["flag", "environment"])
@pytest.mark.parametrize(
    "command", [["portico.supervisor", "--drain"], ["portico.cli", "status"]], ids=["run", "status"]
)
def test_the_password_of_a_store_is_in_no_message(
    url: str, way: str, command: list[str], tmp_path: Path
) -> None:
    flags = ["--queue-url", url] if way == "flag" else []
    given = {"PORTICO_QUEUE_URL": url} if way == "environment" else {}
    said = subprocess.run(
        [sys.executable, "-m", *command, *flags], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **given}, timeout=60, check=False,
    )  # fmt: skip
    assert said.returncode == 1
    assert "queue" in said.stderr
    assert CANARY not in said.stdout + said.stderr


@pytest.mark.parametrize("url", ELSEWHERE)
async def test_the_password_of_a_store_that_is_not_there_is_in_no_message(
    url: str, here: Place
) -> None:
    asked = [sys.executable, "-m", "portico.cli", "status", "--queue-url", url]
    said = subprocess.run(asked, cwd=here.folder, capture_output=True, text=True, check=False)
    assert said.returncode != 0
    assert "db.invalid" in said.stderr
    assert CANARY not in said.stdout + said.stderr

    supervisor = here.supervisor("--queue-url", url)
    await supervisor.until(lambda: "db.invalid" in supervisor.text(), what="that it waits")
    assert CANARY not in supervisor.text()


def test_a_password_that_was_given_to_the_wrong_option_is_in_no_message(tmp_path: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-m", "portico.supervisor", "--workers", URLS[0]], cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    assert said.returncode == 1
    assert "--workers is 'postgresql://portico:***@db.invalid/jobs'" in said.stderr
    assert CANARY not in said.stderr


@pytest.mark.parametrize("url", URLS)
def test_the_password_of_a_store_is_in_no_error_that_an_application_sees(url: str) -> None:
    for build in (compose.job_queue, compose.audit):
        if build is compose.audit and url.startswith("sqlite:///"):
            continue  # a file of that name
        with pytest.raises(ConfigurationError) as caught:
            build(url)
        assert CANARY not in str(caught.value)
        assert CANARY not in str(caught.value.details)


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://ann:{CANARY}/with/slashes@host/db",
        f"postgresql://ann:{CANARY}@with@ats@host/db",
        f"cannot reach redis://:{CANARY}@host:6379/0, nor amqp://a:{CANARY}@h",
        f"https://hooks.invalid/x?token={CANARY}&a=1",
        f'{{"url": "https://ann:{CANARY}@host/"}}',
    ],
)
def test_passwords_inside_of_addresses_are_masked(text: str) -> None:
    assert CANARY not in masked_urls(text)


@pytest.mark.parametrize(
    "text",
    [
        "https://host:8080/packages/@scope/name",
        "http://127.0.0.1:80/ by ann@example.org",
        '{"a": "http://h/x", "b": "ann@example.org"}',
    ],
)
def test_a_port_and_an_address_further_on_are_no_password(text: str) -> None:
    assert masked_urls(text) == text


def test_a_text_full_of_beginnings_is_masked_in_no_time() -> None:
    started = time.perf_counter()
    masked_urls("://a:" * 100_000)
    assert time.perf_counter() - started < 5


def test_values_of_secret_keys_are_masked_and_more_keys_can_be_named() -> None:
    out = io.StringIO()
    configure_logging(log_format="json", stream=out, secret_keys=["iban"])
    try:
        get_logger("x").info("paid", password=CANARY, deep=[{"IBAN": CANARY}], api_key=CANARY)
    finally:
        reset_logging()
    assert "paid" in out.getvalue()
    assert CANARY not in out.getvalue()


def test_the_readme_says_where_an_address_with_a_password_belongs() -> None:
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert "Give a store's address as `PORTICO_QUEUE_URL`" in readme


async def test_what_a_worker_is_started_with_tells_no_address(
    here: Place, queue: JobQueueAdapter
) -> None:
    """The supervisor's own command line has what its operator wrote there; nothing hands it on."""
    supervisor = here.supervisor("--queue-url", f"{here.url}?durability=normal", app=APP)
    job = await queue.enqueue(make_job(job_type="test.fine"))
    assert (await ended(queue, job.id)).status is JobStatus.COMPLETED
    for process in supervisor.descendants():
        assert "sqlite" not in " ".join(process.cmdline())


@pytest.mark.parametrize("log_format", ["json", "console"])
async def test_the_log_names_only_the_class_of_an_error_where_that_is_wished(
    here: Place, queue: JobQueueAdapter, log_format: str
) -> None:
    """Also of one that nobody awaits, and of one that is logged; the store keeps its words."""
    code = (
        "import asyncio\nfailed = asyncio.get_running_loop().create_future()\n"
        "failed.set_exception(KeyError('canary'))\ndel failed\n"
        "try: raise LookupError('canary\\ncanary: canary')\n"
        "except LookupError: context.logger.exception('logged')\n"
        "raise ValueError('card canary')"
    )
    job = make_job(job_type="test.python", payload={"code": code}, max_retries=0)
    await queue.enqueue(job)
    supervisor = here.supervisor(
        "--log-errors", "type", "--log-format", log_format, "--drain", app=APP
    )
    assert await supervisor.ended() == 0
    for name in ("ValueError", "KeyError", "LookupError"):
        assert name in supervisor.text()
    assert "canary" not in supervisor.text()
    record = await queue.inspect(job.id)
    assert record is not None
    assert record.job.error_message == "card canary"
    assert "canary" in str(record.attempts)


@pytest.mark.parametrize(
    "text",
    ["host=db user=ann password=canary dbname=jobs",
     "host=db password='canary 1' sslpassword=canary",
     "https://h/x?access_key=canary", "https://h/x?pass=canary", "https://h/x?a=1&sig=canary",
     "https://h/x?X-Amz-Credential=canary&X-Amz-Signature=canary", "https://h/x#access_token=canary",
     "postgresql://ann:it'scanary@db/jobs", "redis://:a<canary@h/0", "redis://:a canary@h/0",
     "postgresql://ann:" + "canary" * 60 + "@db/jobs", "redis://a%3Ab:canary@h"],
    ids=lambda text: text[:40],
)  # fmt: skip
def test_a_password_of_somebody_elses_address_is_masked(text: str) -> None:
    assert "canary" not in masked_urls(text)
    assert "***" in masked_urls(text)


def test_words_that_only_look_like_a_password_stay() -> None:
    for text in ("https://h/x?passenger=1&signal=2#part=3", "the password = none", "compass=north"):
        assert masked_urls(text) == text
