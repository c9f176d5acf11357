"""The verbs of the command, on a queue in memory."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import click
import pytest

from portico import compose
from portico.adapters.job_queue.memory_queue import MemoryJobQueueAdapter
from portico.cli import job_lines
from portico.cli.command import run
from portico.exceptions import QueueConnectionError
from portico.kits.job.job_service import JobService
from portico.ports.job import Job, JobStatus
from portico.ports.leasing import Evidence, Failure, JobFilter, Lease, Settlement, Transition
from portico.supervisor.config import resolve_queue_url
from portico.supervisor.crowds import Board
from portico.supervisor.trouble import Notice
from tests.support.terminals import on_terminal
from tests.unit.cli.odd_values import ODD_VALUES

Output = Callable[[], tuple[str, str]]


class Store(MemoryJobQueueAdapter):
    """Keeps its jobs from one command to the next; its clock can be put forward."""

    def __init__(self) -> None:
        super().__init__(clock=lambda: time.time() + self.ahead)
        self.ahead = 0.0

    async def close(self) -> None:
        pass

    def create(self, count: int = 1, **arguments: Any) -> list[Job]:
        jobs = [{"job_type": "a.b", "payload": {}, **arguments} for _ in range(count)]
        outcomes = asyncio.run(JobService(self).create_jobs(jobs))
        return [outcome.job for outcome in outcomes if outcome.job is not None]

    def settle(self, transition: Transition, **fields: Any) -> Lease:
        async def once() -> Lease:
            (lease,) = (await self.exchange([], ["default", "mail"], 1)).leases
            await self.exchange([Settlement(lease.id, lease.token, transition, **fields)], [], 0)
            return lease

        return asyncio.run(once())

    def bury(self, **arguments: Any) -> Job:
        (job,) = self.create(max_retries=0, priority=99, **arguments)  # leased before others
        self.settle(Transition.RETRY, failure=Failure("ValueError", "no such\nuser", "Traceback"))
        return self.get(job.id)

    async def all_stats_total(self) -> int:
        return sum(stats.total for stats in (await self.all_stats()).values())

    def get(self, job_id: UUID) -> Job:
        job = asyncio.run(self.get_job(job_id))
        assert job is not None
        return job

    def all(self) -> list[Job]:
        return asyncio.run(self.list_jobs(JobFilter(), 1000)).jobs


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Store]:
    queue = Store()
    (tmp_path / "jobs.db").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PORTICO_QUEUE_URL", "sqlite:///jobs.db")
    monkeypatch.setattr(compose, "job_service", lambda _url: JobService(queue))
    return queue


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Output:
    return lambda: tuple(capsys.readouterr())  # type: ignore[return-value]


def test_enqueue_prints_the_id_of_the_job_it_created(store: Store, said: Output) -> None:
    assert run(["enqueue", "email.send", '{"to": "ann"}', "-Q", "mail", "-p", "7"]) == 0
    out, err = said()
    job = store.get(UUID(out.strip()))
    assert (job.job_type, job.payload, job.queue_name, job.priority) == (
        "email.send", {"to": "ann"}, "mail", 7,
    )  # fmt: skip
    assert err == ""


def test_enqueue_schedules_and_sets_id_and_retries(store: Store, said: Output) -> None:
    job_id = uuid4()
    code = run(
        ["enqueue", "a.b", "{}", "--in", "5m", "--id", str(job_id), "--max-retries", "0", "--json"]
    )
    document = json.loads(said()[0])
    assert code == 0
    assert (document["id"], document["status"], document["max_retries"]) == (
        str(job_id), "scheduled", 0,
    )  # fmt: skip


def test_enqueue_gives_a_job_a_deadline_of_its_own(store: Store, said: Output) -> None:
    for given, limit in (("5m", 300.0), ("1h30m", 5400.0), ("none", None), ("0", None)):
        assert run(["enqueue", "a.b", "{}", "--timeout", given, "--json"]) == 0
        assert json.loads(said()[0])["metadata"] == {"job_timeout": limit}


def test_enqueue_reads_a_payload_from_stdin(
    store: Store, said: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO('{"n": "€"}'.encode()), "ascii"))
    assert run(["enqueue", "a.b", "-"]) == 0
    assert store.get(UUID(said()[0].strip())).payload == {"n": "€"}
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"n": "\xff"}')))
    assert run(["enqueue", "a.b", "-"]) == 4
    assert "the payload is not UTF-8: invalid start byte at byte 7" in said()[1]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["a.b", "{oops"], 4, ("is not JSON", "at '{<HERE>oops'", "object in quotes")),
        (
            ["a.b", '{"a": "' + "x" * 50 + '", oops, "b": "' + "x" * 50 + '"}'],
            4,
            ("char 60", '...xxxxxxxxxxxxxxxxxxxxx", <HERE>oops, "b": "xxxxxxxxxxxx...'),
        ),
        (["a.b", "[1]"], 4, ("payload is a list", "JSON object")),
        (["a b", "{}"], 4, ("job_type is 'a b'", "letters, digits")),
        (["a.b", "{}", "--queue", "no way"], 4, ("queue_name is 'no way'",)),
        (["a.b", "{}", "--max-retries", "-1"], 4, ("max_retries is -1",)),
        (["a.b", "{}", "--queue", "\udcff"], 4, (r"queue_name is '\udcff'",)),
        (["\udcff", "{}"], 4, (r"job_type is '\udcff'",)),
        (["\udcff"], 2, (r"there is no file '\udcff'",)),
        (["nowhere/jobs"], 2, ("there is no file 'nowhere/jobs'",)),
        (["mistyped.jsonl"], 2, ("there is no file 'mistyped.jsonl'",)),
        (["a.b", "{}", "--in", "soon"], 2, ("--in", "'soon'", "5m")),
        (["a.b", "{}", "--timeout", "soon"], 2, ("--timeout", "'soon'", "1h30m")),
        (["a.b", "{}", "--at", "soon"], 2, ("--at", "'soon'", "ISO 8601")),
        (["a.b", "{}", "--id", "7"], 2, ("--id", "'7'", "UUID")),
        (["a.b", "{}", "--in", "5m", "--at", "2026-05-01"], 2, ("exclude each other",)),
        (["a.b"], 2, ("'a.b' is no file", "portico enqueue a.b '{}'")),
        (["-", "--id", str(uuid4())], 2, ("--id is for a single job",)),
    ],
)
def test_enqueue_refuses_by_name_and_stores_nothing(
    store: Store, said: Output, arguments: list[str], code: int, words: tuple[str, ...]
) -> None:
    assert run(["enqueue", *arguments]) == code
    out, err = said()
    assert out == ""
    assert all(word in " ".join(err.split()) for word in words)
    assert store.all() == []


def test_enqueueing_an_id_that_exists_is_a_conflict(store: Store, said: Output) -> None:
    (job,) = store.create()
    assert run(["enqueue", "a.b", "{}", "--id", str(job.id)]) == 4
    assert str(job.id) in said()[1]


LINES = """{"type": "a.b", "payload": {"n": 1}}

{"type": "a.b", "payload": {"n": NaN}}
nonsense
{"type": "a.b", "payload": {"n": 2}, "queue": "other"}
"""


def test_many_lines_are_stored_and_bad_ones_reported_by_file_and_line(
    store: Store, said: Output, tmp_path: Path
) -> None:
    (tmp_path / "jobs.jsonl").write_text(LINES)
    assert run(["enqueue", "jobs.jsonl", "--priority", "3"]) == 4
    out, err = said()
    assert out == "2 jobs stored, 2 lines refused\n"
    refusals = sorted(err.splitlines())
    assert [line.split(": ")[1] for line in refusals] == ["jobs.jsonl:3", "jobs.jsonl:4"]
    assert "payload['n'] is nan" in refusals[0]
    assert "not JSON" in refusals[1]
    assert sorted((job.payload["n"], job.queue_name, job.priority) for job in store.all()) == [
        (1, "default", 3), (2, "other", 3),
    ]  # fmt: skip


def test_every_line_of_a_file_is_stored_or_refused_by_its_number_whatever_its_values(
    store: Store, said: Output, tmp_path: Path
) -> None:
    good = {"type": "a.b", "payload": {}}
    odd = [{**good, key: value} for key, value in product(sorted(job_lines._NAMES), ODD_VALUES)]
    lines = [json.dumps(line) for line in (good, *odd, good)]
    (tmp_path / "jobs.jsonl").write_text("\n".join(lines))
    assert run(["enqueue", "--json", "jobs.jsonl"]) == 4
    out, err = said()
    report = json.loads(out)
    refused = {refusal["line"] for refusal in report["refused"]}
    assert report["stored"] == asyncio.run(store.all_stats_total()) == len(lines) - len(refused)
    assert not refused & {1, len(lines)}
    assert len(err.splitlines()) == len(refused)
    assert all(line.startswith("portico: jobs.jsonl:") for line in err.splitlines())


def test_strict_stores_nothing_when_a_line_is_bad(
    store: Store, said: Output, tmp_path: Path
) -> None:
    (tmp_path / "jobs.jsonl").write_text(LINES)
    assert run(["enqueue", "--strict", "--json", "jobs.jsonl"]) == 4
    report = json.loads(said()[0])
    assert report["stored"] == 0
    assert [refused["line"] for refused in report["refused"]] == [3, 4]
    assert store.all() == []


def test_strict_stores_nothing_when_a_line_is_due_later_than_the_queue_takes(
    said: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, late = '{"type": "a.b", "payload": {}}', '{"type": "a.b", "payload": {}, "in": "31d"}'
    (tmp_path / "jobs.jsonl").write_text(f"{good}\n{late}\n{good}\n")
    monkeypatch.chdir(tmp_path)
    url = "sqlite:///strict.db?max_horizon=30d"
    assert run(["-u", url, "enqueue", "--strict", "jobs.jsonl"]) == 4
    out, err = said()
    assert out == "0 jobs stored, 1 line refused\n"
    assert err.startswith("portico: jobs.jsonl:2: delay is 31 days")
    assert "raise max_horizon" in err
    assert not (tmp_path / "strict.db").exists()


def test_lines_are_read_from_pipes_and_devices_too(
    store: Store, said: Output, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    line = b'{"type": "a.b", "payload": {}}\n'
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(line,))
    writer.start()
    assert run(["enqueue", "pipe"]) == 0
    writer.join()
    assert said()[0] == "1 job stored\n"
    assert run(["enqueue", str(tmp_path)]) == 2
    assert "cannot be read: Is a directory" in said()[1]


def test_strict_stores_all_when_all_lines_are_good(
    store: Store, said: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = b'{"type": "a.b", "payload": {}}\n' * 5
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines)))
    assert run(["enqueue", "--strict", "-"]) == 0
    assert said() == ("5 jobs stored\n", "")
    assert len(store.all()) == 5


def test_a_line_whose_id_exists_is_reported_and_the_others_are_stored(
    store: Store, said: Output, tmp_path: Path
) -> None:
    line = json.dumps({"type": "a.b", "payload": {}, "id": str(uuid4())})
    (tmp_path / "jobs.jsonl").write_text(f"{line}\n{line}\n")
    assert run(["enqueue", "jobs.jsonl"]) == 4
    assert "jobs.jsonl:2: a job with id" in said()[1]
    assert len(store.all()) == 1


def test_a_store_that_fails_half_way_says_what_is_stored(
    store: Store, said: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert, calls = store.insert, []

    async def failing(drafts: Any) -> Any:
        calls.append(len(drafts))
        if len(calls) == 3:
            raise QueueConnectionError("jobs.db is locked")
        return await insert(drafts)

    monkeypatch.setattr(store, "insert", failing)
    (tmp_path / "jobs.jsonl").write_text('{"type": "a.b", "payload": {}}\n' * 2500)
    assert run(["enqueue", "jobs.jsonl"]) == 1
    assert calls == [1000, 1000, 500]
    told = said()[1]
    assert "jobs.db is locked; before that, 2,000 jobs stored, up to line 2000 of" in told
    assert "whether lines 2001 to 2500 are, nobody knows" in told


@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupt_says_what_is_stored_and_of_what_that_is_not_known(
    store: Store, said: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    insert, calls = store.insert, []

    async def interrupted(drafts: Any) -> Any:
        calls.append(len(drafts))
        inserted = await insert(drafts)
        for _ in range(times if len(calls) == 2 else 0):
            signal.raise_signal(signal.SIGINT)
        return inserted

    monkeypatch.setattr(store, "insert", interrupted)
    (tmp_path / "jobs.jsonl").write_text('{"type": "a.b", "payload": {}}\n' * 3500)
    assert run(["enqueue", "jobs.jsonl"]) == 130
    out, err = said()
    assert out == ""
    assert asyncio.run(store.get_queue_stats("default")).total == 2000
    known = "2,000 jobs stored, up to line 2000 of jobs.jsonl"
    unknown = "1,000 jobs stored, up to line 1000 of jobs.jsonl; whether lines 1001 to 2000 are"
    assert f"interrupted; before that, {(known, unknown)[times - 1]}" in err
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_status_counts_each_queue(store: Store, said: Output) -> None:
    store.create(2)
    store.create(queue_name="mail")
    store.bury()
    assert run(["status"]) == 0
    heading, *rows = [line.split() for line in said()[0].splitlines()]
    assert heading[0] == "queue"
    counts = {row[0]: dict(zip(heading, row, strict=True)) for row in rows}
    assert (counts["default"]["pending"], counts["default"]["dead_letter"]) == ("2", "1")
    assert counts["mail"]["total"] == "1"


def test_status_tells_how_long_jobs_have_been_due_and_when_the_next_will_be(
    store: Store, said: Output
) -> None:
    now = datetime.now(UTC)
    for hours in (-3, -1, 50, 80):
        store.create(scheduled_at=now + timedelta(hours=hours))
    store.create(queue_name="mail", scheduled_at=now + timedelta(days=9, hours=1))
    run(["status"])
    heading, *rows = [line.split() for line in said()[0].splitlines()]
    assert heading[-2:] == ["oldest", "next"]
    assert int(rows[0][-2][:-1]) == pytest.approx(3 * 3600, abs=60)
    assert rows[1][-2] == "-"
    lines = on_terminal(lambda: run(["status"]))
    assert all(len(line) <= 80 for line in lines)
    assert lines[0].split()[-2:] == ["oldest", "next"]
    assert lines[1].endswith("3h  in 2d")
    assert lines[2].endswith("        in 9d")


def test_status_as_json_has_a_stable_shape(store: Store, said: Output) -> None:
    store.create()
    run(["status", "--json", "--queue", "default"])
    told = json.loads(said()[0])
    assert told["queues"][0].pop("oldest_wait") >= 0
    assert told == {
        "queues": [
            {
                "queue_name": "default", "pending": 1, "scheduled": 0, "running": 0,
                "completed": 0, "failed": 0, "retrying": 0, "dead_letter": 0, "total": 1,
                "next_due": None,
            }
        ],
        "troubles": [],
        "full": [],
            "served": None,
    }  # fmt: skip


def test_status_says_which_supervisor_cannot_use_the_store(
    store: Store, said: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    notice = Notice(resolve_queue_url(None))
    notice.put(seconds=5.0, said="its disk is full", waiting=3)
    assert run(["status"]) == 1
    told = said()[1]
    assert f"supervisor {os.getpid()} leases nothing since" in told
    assert "its disk is full" in told
    assert "3 results" in told
    run(["status", "--json"])
    [trouble] = json.loads(said()[0])["troubles"]
    assert (trouble["pid"], trouble["results_waiting"]) == (os.getpid(), 3)
    assert datetime.now(UTC) - datetime.fromisoformat(trouble["since"]) < timedelta(minutes=1)
    notice.clear()
    assert run(["status"]) == 0
    assert said()[1] == ""


@pytest.mark.security("S8")
def test_status_commands_no_terminal_with_what_a_file_of_this_user_says(
    store: Store, said: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    store.create()
    board = Board(resolve_queue_url(None))
    board.put({"a.b\x1b]0;title\x07\nall is well": 1})
    run(["status"])
    told = said()[0]
    board.put({})
    assert r"a.b\x1b]0;title\x07\nall is well: as many run as may" in told
    assert "\x1b" not in told


def test_status_of_nothing_says_so(store: Store, said: Output) -> None:
    assert run(["status"]) == 0
    assert said()[0] == "The queues are empty.\n"


def test_jobs_are_listed_by_filter_and_page(store: Store, said: Output) -> None:
    store.create(3)
    store.create(job_type="c.d", queue_name="mail")
    run(["jobs", "list", "--json", "--type", "a.b", "--status", "pending", "--limit", "2"])
    first = json.loads(said()[0])
    run(["jobs", "list", "--json", "--type", "a.b", "--cursor", first["cursor"]])
    second = json.loads(said()[0])
    assert [len(first["jobs"]), len(second["jobs"])] == [2, 1]
    assert second["cursor"] is None
    assert set(first["jobs"][0]) == {*Job.__dataclass_fields__, "error_type", "due_at"}
    run(["jobs", "list", "--json", "--type", "c.d"])
    (job,) = json.loads(said()[0])["jobs"]
    assert (job["error_type"], job["due_at"]) == (None, job["created_at"])


def test_a_list_in_a_pipe_has_a_line_per_job_and_cuts_nothing(store: Store, said: Output) -> None:
    job = store.bury(payload={"x": 1}, job_type="t" * 100)
    assert run(["jobs", "list"]) == 0
    heading, row = said()[0].splitlines()
    assert heading.split() == [
        "id", "queue", "type", "status", "when", "took", "retries", "error",
    ]  # fmt: skip
    assert row.split()[:4] == [str(job.id), "default", "t" * 100, "dead_letter"]
    assert row.endswith("ValueError: no such")


@pytest.mark.parametrize("verb", [["jobs", "list"], ["dead", "list"], ["status"]])
def test_a_name_that_no_queue_can_have_is_refused_by_name(
    store: Store, said: Output, verb: list[str]
) -> None:
    assert run([*verb, "-Q", "\udcff"]) == 2
    assert r"'--queue': '\udcff': use 1 to 128 letters" in said()[1]
    if verb != ["status"]:
        assert run([*verb, "-t", "no way"]) == 2
        assert "'--type': 'no way': use 1 to 128 letters" in said()[1]


def test_a_list_tells_how_to_see_more(store: Store, said: Output) -> None:
    store.create(3)
    run(["jobs", "list", "-n", "2"])
    assert "More: add --cursor " in said()[1]
    run(["jobs", "list", "--status", "failed"])
    assert said()[0] == "No jobs match.\n"


def test_jobs_are_listed_by_who_made_them_when_and_with_what(store: Store, said: Output) -> None:
    ann = str(uuid4())
    (mine,) = store.create(created_by=ann, metadata={"tenant": "b", "n": 1})
    store.ahead = 7200.0
    (other,) = store.create()

    def listed(*options: str) -> list[str]:
        assert run(["jobs", "list", "--json", *options]) == 0
        return [job["id"] for job in json.loads(said()[0])["jobs"]]

    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    both, first = [str(other.id), str(mine.id)], [str(mine.id)]
    for options, expected in (
        (["--created-by", ann], first), (["--metadata", "tenant=b", "--metadata", "n=1"], first),
        (["--metadata", 'n="1"'], []), (["--created-after", later], both[:1]),
        (["--created-before", later], first), ([], both),
    ):  # fmt: skip
        assert listed(*options) == expected
    run(["jobs", "list", "--created-by", str(uuid4())])
    assert said()[0] == "No jobs match among 2 jobs.\n"
    assert run(["jobs", "list", "--metadata", "tenant"]) == 2
    assert "give KEY=VALUE" in said()[1]


def test_a_table_asks_for_no_documents(
    store: Store, said: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.bury()
    asked: list[bool] = []
    page = store.list_jobs

    async def listed(jobs: JobFilter, *more: Any) -> Any:
        asked.append(jobs.documents)
        return await page(jobs, *more)

    monkeypatch.setattr(store, "list_jobs", listed)
    for verb in ("jobs list", "dead list", "dead requeue --all --yes"):
        assert run(verb.split()) == 0
    assert asked == [False] * len(asked)
    run(["jobs", "list", "--json"])
    assert asked[-1] is True


def test_a_job_is_shown_with_its_attempts_error_and_traceback(store: Store, said: Output) -> None:
    job = store.bury(payload={"user": 7}, metadata={"from": "test"})
    assert run(["jobs", "show", str(job.id)]) == 0
    out = said()[0]
    facts = dict(line.split(maxsplit=1) for line in out.split("\n\n")[0].splitlines())
    assert (facts["status"], facts["attempts"]) == ("dead_letter", "1")
    assert facts["retries"] == "0 of 0 used"
    for text in ('"user": 7', '"from": "test"', "ValueError: no such\n  user", "Traceback"):
        assert text in out


def test_a_running_job_is_shown_with_how_long_it_has_been_running(
    store: Store, said: Output
) -> None:
    (job,) = store.create()
    asyncio.run(store.dequeue("default", timeout=0))
    run(["jobs", "show", str(job.id)])
    facts = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in said()[0].splitlines()[:12])
    assert facts["status"] == "running"
    assert re.fullmatch(r"\d+[sm]", facts["running for"])


def test_a_shown_job_as_json_has_its_counters(store: Store, said: Output) -> None:
    (job,) = store.create()
    store.settle(Transition.COMPLETE, result=b'{"n":1}')
    run(["dead", "show", "--json", str(job.id)])
    document = json.loads(said()[0])
    assert (document["status"], document["attempt"], document["result"]) == (
        "completed", 1, {"n": 1},
    )  # fmt: skip
    assert {"crash_count", "release_count", "traceback", "owner"} <= set(document)


def test_a_shown_job_has_the_history_of_its_attempts(store: Store, said: Output) -> None:
    (job,) = store.create()
    seen = Evidence(4711, None, "SIGSEGV", True, 1.5, 2.25, 48 * 2**20, "the last line")
    store.settle(Transition.CRASH, failure=Failure("WorkerLostError", "it died", "", seen))
    run(["jobs", "show", str(job.id)])
    out = said()[0]
    assert "1  crash  " in out
    assert "WorkerLostError: it died" in out
    assert (
        "ran 1.500 s, worker 4711 (killed by SIGSEGV), CPU 2.25 s in its life, "
        "peak memory 48 MiB, out of memory suspected, held by "
    ) in out
    assert out.endswith("Last output of the worker in attempt 1\n  the last line\n")
    run(["jobs", "show", "--json", str(job.id)])
    (attempt,) = json.loads(said()[0])["attempts"]
    assert (attempt["ended_as"], attempt["pid"], attempt["oom_suspected"]) == ("crash", 4711, True)


def test_each_attempt_is_shown_with_its_own_traceback_and_output(
    store: Store, said: Output
) -> None:
    (job,) = store.create()
    for number in (1, 2):
        seen = Evidence(output=f"line {number}")
        store.settle(Transition.SUSPECT, failure=Failure("E", "no", f"stack {number}", seen))
    run(["jobs", "show", str(job.id)])
    _, *blocks = said()[0].split("History\n")[1].split("\n\n")
    assert [block.splitlines() for block in blocks if "attempt" in block] == [
        ["Traceback of attempt 1", "  stack 1"],
        ["Last output of the worker in attempt 1", "  line 1"],
        ["Traceback of attempt 2", "  stack 2"],
        ["Last output of the worker in attempt 2", "  line 2"],
    ]
    assert not [block for block in blocks if block.startswith("Traceback\n")]


def test_a_traceback_that_attempts_have_in_common_is_shown_once(store: Store, said: Output) -> None:
    (job,) = store.create()
    for _ in range(3):
        store.settle(Transition.RETRY, failure=Failure("E", "no", "the stack"))
    run(["jobs", "show", str(job.id)])
    out = said()[0]
    assert out.count("  the stack\n") == 1
    assert "Traceback of attempt 3\n  the same as of attempt 1\n" in out


def test_a_job_that_succeeded_at_once_has_no_history_to_show(store: Store, said: Output) -> None:
    (job,) = store.create()
    store.settle(Transition.COMPLETE, result=b"{}")
    run(["jobs", "show", str(job.id)])
    assert "History" not in said()[0]
    run(["jobs", "show", "--json", str(job.id)])
    assert [a["ended_as"] for a in json.loads(said()[0])["attempts"]] == ["complete"]


def test_terminal_escapes_of_a_job_are_spelled_out(store: Store, said: Output) -> None:
    (job,) = store.create(max_retries=0)
    store.settle(Transition.FAIL, failure=Failure("E", "\x1b]0;owned\x07 [bold]x"))
    for arguments in (["jobs", "list"], ["jobs", "show", str(job.id)]):
        run(arguments)
        out = said()[0]
        assert "\x1b" not in out
        assert r"\x1b]0;owned\x07 [bold]x" in out


def test_waiting_jobs_are_cancelled_and_others_are_named(store: Store, said: Output) -> None:
    waiting, running = store.create(2)
    asyncio.run(store.exchange([], ["default"], 1))
    waiting, running = sorted((waiting, running), key=lambda job: store.get(job.id).status.value)
    missing = uuid4()
    assert run(["jobs", "cancel", str(waiting.id)]) == 0
    assert run(["jobs", "cancel", "--waiting", str(running.id), str(missing)]) == 4
    err = said()[1]
    assert f"{running.id} is running and was not cancelled; leave --waiting out to stop it" in err
    assert f"there is no job {missing}" in err
    assert run(["jobs", "cancel", str(running.id)]) == 0
    assert run(["jobs", "cancel", str(missing)]) == 3
    assert store.get(waiting.id).error_message == "Job cancelled"


def test_a_result_is_printed_once_the_job_is_completed(store: Store, said: Output) -> None:
    (job,) = store.create()
    assert run(["jobs", "result", str(job.id)]) == 4
    assert "is pending; only completed jobs have results" in said()[1]
    store.settle(Transition.COMPLETE, result=b'{"n":1}')
    assert run(["jobs", "result", str(job.id)]) == 0
    assert json.loads(said()[0]) == {"n": 1}
    assert run(["jobs", "result", "--json", str(job.id)]) == 0
    assert json.loads(said()[0]) == {"n": 1}


def test_a_job_may_be_named_by_what_its_id_begins_with(store: Store, said: Output) -> None:
    ids = [f"0192ab{digit}0-0000-7000-8000-000000000001" for digit in "01"]
    for job_id in ids:
        store.create(job_id=job_id, max_retries=0)
    assert run(["jobs", "show", "0192ab0"]) == 0
    assert said()[0].startswith(f"id        {ids[0]}\n")
    assert run(["jobs", "show", "0192AB10-0000-7", "--json"]) == 0
    assert json.loads(said()[0])["id"] == ids[1]
    assert run(["jobs", "cancel", "0192ab", "0192ac", "0192ab1"]) == 4
    out, err = said()
    assert out == f"{ids[1]} cancelled\n"
    ambiguous, unknown = err.splitlines()
    assert "the ids of several jobs begin with 0192ab: " in ambiguous
    assert all(job_id in ambiguous for job_id in ids)
    assert unknown.startswith("portico: there is no job whose id begins with 0192ac;")
    assert run(["dead", "requeue", "0192ab1"]) == 0
    assert said()[0] == f"{ids[1]} requeued\n"
    assert run(["jobs", "result", "0192ab0"]) == 4
    assert f"job {ids[0]} is pending" in said()[1]
    assert run(["jobs", "show", "0192ac"]) == 3
    for too_little in ("019", "0192xy"):
        assert run(["jobs", "show", too_little]) == 2
        assert "4 or more digits that it begins with" in " ".join(said()[1].split())


@pytest.mark.parametrize("verb", [["jobs", "show"], ["jobs", "result"], ["dead", "show"]])
def test_a_job_that_is_not_there_is_exit_code_three(
    store: Store, said: Output, verb: list[str]
) -> None:
    job_id = uuid4()
    assert run([*verb, str(job_id)]) == 3
    assert said()[1] == f"portico: there is no job {job_id}; see portico jobs list\n"
    assert run([*verb, "seven"]) == 2
    assert "a job id is a UUID" in said()[1]


def test_dead_jobs_are_listed_without_the_living(store: Store, said: Output) -> None:
    job = store.bury()
    store.create()
    (failed,) = store.create(priority=9)
    store.settle(Transition.FAIL)
    run(["dead", "list", "--json"])
    assert [one["id"] for one in json.loads(said()[0])["jobs"]] == [str(job.id)]
    run(["dead", "list", "--json", "--failed"])
    assert {one["id"] for one in json.loads(said()[0])["jobs"]} == {str(job.id), str(failed.id)}


def test_named_dead_jobs_run_again(store: Store, said: Output) -> None:
    job, (living,) = store.bury(), store.create()
    assert run(["dead", "requeue", str(job.id)]) == 0
    assert store.get(job.id).status is JobStatus.PENDING
    assert run(["dead", "requeue", str(living.id), str(uuid4())]) == 4
    assert "is pending; only dead and failed jobs run again" in said()[1]
    assert run(["dead", "requeue", str(uuid4())]) == 3


def test_all_dead_jobs_that_match_run_again(store: Store, said: Output) -> None:
    jobs = [store.bury(job_type=job_type) for job_type in ("a.b", "c.d", "a.b")]
    assert run(["dead", "requeue", "--all", "--type", "a.b"]) == 0
    assert said()[0] == "2 jobs requeued\n"
    assert [store.get(job.id).status.value for job in jobs] == ["pending", "dead_letter", "pending"]


def test_requeue_wants_ids_or_all(store: Store, said: Output) -> None:
    assert run(["dead", "requeue"]) == 2
    assert run(["dead", "requeue", "--all", str(uuid4())]) == 2
    assert "name the jobs, or give --all" in said()[1]


def test_purge_deletes_what_matches_and_nothing_else(store: Store, said: Output) -> None:
    old, other = store.bury(), store.bury(job_type="c.d")
    store.create()
    assert run(["dead", "purge", "--yes", "--older-than", "7d"]) == 0
    assert run(["dead", "purge", "--yes", "--type", "a.b"]) == 0
    assert said()[0] == "0 jobs deleted\n1 job deleted\n"
    assert old.id not in {job.id for job in store.all()}
    assert other.id in {job.id for job in store.all()}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_purge_asks_with_the_number_and_takes_no_for_an_answer(
    store: Store, said: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.bury()
    store.bury(queue_name="mail", job_type="c.d")
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    assert run(["dead", "purge", "-Q", "default"]) == 1
    question = r"Delete 1 dead-letter job in queue default that ended before 20\S+ \S+ for ever\?"
    assert re.search(question, said()[1])
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    assert run(["dead", "purge"]) == 0
    assert "Delete 2 dead-letter jobs in all queues that ended before 20" in said()[1]
    assert store.all() == []
    monkeypatch.setattr("sys.stdin", Terminal(""))
    assert run(["dead", "purge"]) == 0  # there is nothing to ask about
    assert said() == ("0 jobs deleted\n", "")


def test_requeueing_all_asks_at_a_terminal_only(
    store: Store, said: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = store.bury()
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    assert run(["dead", "requeue", "--all"]) == 1
    assert "Run 1 dead-letter job in all queues that ended before 20" in said()[1]
    assert store.get(job.id).status is JobStatus.DEAD_LETTER
    assert run(["dead", "requeue", "--all", "--yes"]) == 0
    assert store.get(job.id).status is JobStatus.PENDING


@pytest.mark.parametrize(("verb", "done"), [("purge", "deleted"), ("requeue", "requeued")])
def test_what_dies_after_the_question_is_left_alone(
    store: Store, said: Output, monkeypatch: pytest.MonkeyPatch, verb: str, done: str
) -> None:
    asked = store.bury()
    later: list[Job] = []

    def confirmed(*_: Any, **__: Any) -> bool:
        store.ahead = 30.0
        with ThreadPoolExecutor() as elsewhere:  # where no loop is running
            later.append(elsewhere.submit(store.bury, queue_name="mail").result())
        store.ahead = 60.0
        monkeypatch.setattr("portico.cli.sweeps.monotonic", lambda: time.monotonic() + 60.0)
        return True

    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr(click, "confirm", confirmed)
    assert run(["dead", verb, *(["--all"] if verb == "requeue" else [])]) == 0
    assert said()[0] == f"1 job {done}\n"
    assert store.get(later[0].id).status is JobStatus.DEAD_LETTER
    assert asked.id not in {job.id for job in store.all() if job.status == "dead_letter"}


@pytest.mark.parametrize(("times", "told"), [(1, "500 jobs deleted"), (2, "0 jobs deleted; of up")])
def test_an_interrupted_purge_says_how_many_are_gone(
    store: Store, said: Output, monkeypatch: pytest.MonkeyPatch, times: int, told: str
) -> None:
    for job in store.create(600):
        asyncio.run(store.cancel_job(job.id))
    purge = store.purge

    async def interrupted(jobs: JobFilter, limit: int = 1000) -> int:
        gone = await purge(jobs, limit)
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)
        return gone

    monkeypatch.setattr(store, "purge", interrupted)
    assert run(["dead", "purge", "--failed", "--yes"]) == 130
    assert f"interrupted; before that, {told}" in said()[1]
    assert len(store.all()) == 100


def test_purge_without_a_terminal_wants_yes(
    store: Store, said: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.bury()
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert run(["dead", "purge"]) == 2
    assert "add --yes" in said()[1]
    assert len(store.all()) == 1


def test_a_store_that_cannot_be_reached_is_one_line_with_its_password_masked(
    store: Store, said: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unreachable() -> None:
        raise QueueConnectionError("cannot reach\npostgresql://ann:hunter2@db/jobs; is it up?")

    monkeypatch.setattr(store, "initialize", unreachable)
    assert run(["status"]) == 1
    message = r"portico: cannot reach\npostgresql://ann:***@db/jobs; is it up?"
    assert said() == ("", f"{message}\n")


def test_an_interrupt_ends_in_130_without_a_traceback(
    store: Store, said: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "initialize", interrupted)
    assert run(["status"]) == 130
    assert said() == ("", "\n")


def test_memory_is_no_store_for_a_command(
    said: Output, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["-u", "memory://", "status"]) == 1
    assert "memory://, which lives inside of one process" in said()[1]


@pytest.mark.parametrize(
    ("arguments", "passed"),
    [
        (["supervisor", "--workers", "8", "-Q", "a,b"], ["--workers", "8", "-Q", "a,b"]),
        (["supervisor", "--help"], ["--help"]),
        (["supervisor", "-u", "x", "--json", "--"], ["-u", "x", "--json", "--"]),
        (["-u", "sqlite:///x.db", "supervisor", "-h"], ["--queue-url", "sqlite:///x.db", "-h"]),
    ],
)
def test_supervisor_gets_its_arguments_untouched(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], passed: list[str]
) -> None:
    seen: list[list[str]] = []

    def main(given: list[str]) -> None:
        seen.append(given)
        raise SystemExit(75)

    monkeypatch.setattr("portico.supervisor.cli.main", main)
    with pytest.raises(SystemExit) as caught:
        run(arguments)
    assert (seen, caught.value.code) == ([passed], 75)
