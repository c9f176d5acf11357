"""What jobs say cannot forge a line, drive a terminal, or turn text around."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
import unicodedata
from contextlib import closing
from pathlib import Path

import pytest

from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from portico.utils.log_lines import escaped, escaped_json
from tests.security.conftest import APP
from tests.support.jobs import ended, make_job
from tests.support.supervisors import ROOT, Place

pytestmark = pytest.mark.security("S8")

HOSTILE = (
    "\n[CRITICAL] forged\x1b[2J\x1b]0;title\x07\r\x9b31m\u2028\u202egnp.exe"
    "\u200b\ufeff\U000e0041\u061c\x7f\x00\x08"
)
COMMANDS = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\u061c\u200b\u200e\u200f\ufeff\U000e0041]"
)
"""What a terminal or a pager would obey, or not show; a line's end is looked at by itself."""


@pytest.mark.parametrize("log_format", ["json", "console"])
async def test_no_text_of_a_job_can_forge_a_line_or_drive_a_terminal(
    here: Place, queue: JobQueueAdapter, log_format: str
) -> None:
    loud = make_job(job_type="test.loud", payload={"text": HOSTILE}, max_retries=0)
    await queue.enqueue(loud)
    strange = await queue.enqueue(make_job())
    rename(here, strange.id.bytes, "default")
    supervisor = here.supervisor("--log-format", log_format, "--workers", "1", app=APP)
    assert (await ended(queue, loud.id)).status is JobStatus.DEAD_LETTER
    printed = 2 * (HOSTILE.count("\n") + 1)
    await supervisor.until(lambda: supervisor.text().count("worker_output") >= printed)
    await supervisor.until(lambda: "job_dead_lettered" in supervisor.text())
    await supervisor.until(lambda: "job_put_off" in supervisor.text())
    text = supervisor.text()
    assert "forged" in text
    assert not COMMANDS.findall(text)
    for line in text.splitlines():
        if log_format == "json":
            assert isinstance(json.loads(line), dict)
        else:
            assert re.match(r"\d{4}-\d\d-\d\dT\S+Z |    ", line), line


def rename(here: Place, job_id: bytes, queue_name: str) -> None:
    """Give a stored job a type, and a queue, that no store would have taken."""
    with closing(sqlite3.connect(here.folder / "jobs.db")) as database, database:
        database.execute(
            "UPDATE portico_jobs SET job_type = ?, queue_name = ? WHERE id = ?",
            (HOSTILE, queue_name, job_id),
        )
        database.execute("INSERT OR IGNORE INTO portico_queues VALUES (?, 1)", (queue_name,))
    database.close()


@pytest.mark.parametrize("as_json", [[], ["--json"]], ids=["table", "json"])
@pytest.mark.parametrize(
    "verb",
    [["jobs", "list"], ["jobs", "show"], ["dead", "list"], ["dead", "show"], ["status"]],
    ids=" ".join,
)
async def test_the_command_shows_what_jobs_say_and_obeys_none_of_it(
    here: Place, queue: JobQueueAdapter, verb: list[str], as_json: list[str]
) -> None:
    job = await queue.enqueue(
        make_job(payload={"x": HOSTILE}, metadata={HOSTILE: 1}, max_retries=0)
    )
    leased = await queue.dequeue("default", 5)
    assert leased is not None
    await queue.reject(job.id, error_message=HOSTILE)
    rename(here, job.id.bytes, HOSTILE)
    target = [str(job.id)] if verb[-1] == "show" else []
    said = portico(here.folder, *verb, *target, *as_json)
    assert "forged" in said
    assert not COMMANDS.findall(said)
    assert not [line for line in said.splitlines() if line.startswith("[CRITICAL]")]
    if as_json:
        json.loads(said)


async def test_the_command_prints_a_result_that_no_terminal_obeys_and_every_program_reads(
    here: Place, queue: JobQueueAdapter
) -> None:
    job = await queue.enqueue(make_job(job_type="test.fine", payload={"text": HOSTILE}))
    await here.supervisor("--drain", app=APP).ended()
    said = portico(here.folder, "jobs", "result", str(job.id))
    assert not COMMANDS.findall(said)
    assert json.loads(said) == {"echo": {"text": HOSTILE}}


def test_the_command_complains_about_nothing_that_a_terminal_obeys(tmp_path: Path) -> None:
    (tmp_path / "lines.jsonl").write_text(json.dumps({"type": HOSTILE, "payload": {HOSTILE: 1}}))
    said = subprocess.run(
        [sys.executable, "-m", "portico.cli", "enqueue", "lines.jsonl"], cwd=tmp_path, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert said.returncode == 4
    assert "forged" in said.stderr
    assert not COMMANDS.findall(said.stderr)


@pytest.mark.parametrize("arguments", [["--app", HOSTILE[:-2]], ["--log-level", HOSTILE[:-2]]])
def test_the_supervisor_complains_about_nothing_that_a_terminal_obeys(
    arguments: list[str], tmp_path: Path
) -> None:
    said = subprocess.run(
        [sys.executable, "-m", "portico.supervisor", *(a.replace("\0", "") for a in arguments)],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert said.returncode in (1, 4)
    assert not COMMANDS.findall(said.stderr)


def test_an_app_that_fails_with_words_that_a_terminal_obeys_is_told_without_them(
    tmp_path: Path,
) -> None:
    (tmp_path / "hostile.py").write_text(f"raise RuntimeError({HOSTILE!r})")
    said = subprocess.run(
        [sys.executable, "-m", "portico.supervisor", "--app", "hostile:app"], cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert said.returncode == 4
    assert "forged" in said.stderr
    assert not COMMANDS.findall(said.stderr)


def test_every_character_that_is_obeyed_is_spelled_out() -> None:
    for code in [*range(0x20), *range(0x7F, 0xA0), *range(0x2028, 0x202F), *range(0x2066, 0x206A)]:
        assert chr(code) not in escaped(f"a{chr(code)}b")
        text = json.dumps({"x": chr(code)}, ensure_ascii=False)
        assert not COMMANDS.findall(escaped_json(text))
        assert json.loads(escaped_json(text)) == {"x": chr(code)}


def test_nothing_that_cannot_be_seen_stands_in_a_line() -> None:
    """Of all that Unicode has; and every program reads the same from it as ever."""
    codes = [
        code
        for code in range(sys.maxunicode + 1)
        if unicodedata.category(chr(code)) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    ]
    blank = [
        0x034F,
        0x115F,
        0x1160,
        0x17B4,
        0x17B5,
        0x2800,
        0x3164,
        0xFFA0,
        *range(0xE0100, 0xE01F0),
    ]
    assert len(codes) > 2000
    for code in (*codes, *blank):
        character = chr(code)
        assert character not in escaped(f"a{character}b")
        text = json.dumps({"x": character}, ensure_ascii=False)
        assert character not in escaped_json(text)
        assert json.loads(escaped_json(text)) == {"x": character}


@pytest.mark.parametrize(
    "text",
    ["\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\U0001f469\u200d\U0001f467",
     "\u2764\ufe0f\u200d\U0001f525", "\u2764\ufe0f", "1\ufe0f\u20e3", "\u1820\u180b"],
    ids=ascii,
)  # fmt: skip
def test_words_and_emoji_that_are_written_with_joiners_stay_whole(text: str) -> None:
    assert escaped(text) == text
    assert escaped_json(f'"{text}"') == f'"{text}"'


@pytest.mark.parametrize(
    "text",
    ["ad\u200dmin", "admin\u200c", "\u200dadmin", "admin\ufe0f", "\xe9\u200d\u200d\xe9"],
    ids=ascii,
)
def test_a_joiner_that_joins_nothing_is_spelled_out(text: str) -> None:
    assert escaped(text) != text
    assert escaped_json(f'"{text}"') != f'"{text}"'
    assert json.loads(escaped_json(f'"{text}"')) == text


def portico(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "portico.cli", "-u", f"sqlite:///{folder / 'jobs.db'}", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}, capture_output=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()
