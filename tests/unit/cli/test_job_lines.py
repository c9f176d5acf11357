"""JSON lines as jobs: what is read, and what is refused with its reason."""

from __future__ import annotations

import io
import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.cli import job_lines
from portico.cli.job_lines import Numbered, numbered, read_line
from portico.exceptions import ValidationError
from portico.kits.job.new_job import new_job
from portico.ports.draft import drafted
from tests.unit.cli.odd_values import ODD_VALUES


def read(text: str | bytes, **defaults: Any) -> dict[str, Any]:
    data = text if isinstance(text, bytes) else text.encode()
    return dict(read_line(Numbered(1, data), defaults).arguments)


def test_short_and_long_names_mean_the_same() -> None:
    short = {"type": "a.b", "payload": {}, "queue": "q", "id": "x", "at": None}
    long = {
        "job_type": "a.b",
        "payload": {},
        "queue_name": "q",
        "job_id": "x",
        "scheduled_at": None,
    }
    assert read(json.dumps(short)) == read(json.dumps(long)) == long


def test_a_line_wins_over_the_options_of_the_command() -> None:
    arguments = read('{"type":"a","payload":{},"priority":1}', priority=9, queue_name="mail")
    assert (arguments["priority"], arguments["queue_name"]) == (1, "mail")


def test_the_type_may_come_from_the_options() -> None:
    assert read('{"payload":{}}', job_type="a.b")["job_type"] == "a.b"


@pytest.mark.parametrize("delay", [90, 90.0, "90", "90s", "1.5m", "1m30s", "1m 30s"])
def test_a_delay_is_given_to_the_store(delay: object) -> None:
    for default in ({}, {"delay": 7.0}, {"scheduled_at": datetime.now(UTC)}):
        arguments = read(json.dumps({"type": "a", "payload": {}, "in": delay}), **default)
        assert (arguments["delay"], arguments.get("scheduled_at")) == (90, None)


def test_an_instant_of_a_lines_own_goes_before_the_delay_of_all() -> None:
    arguments = read('{"type":"a","payload":{},"at":"2030-01-01T00:00Z"}', delay=7.0)
    assert arguments["scheduled_at"] == datetime(2030, 1, 1, tzinfo=UTC)
    assert "delay" not in arguments


def test_no_delay_and_no_instant_mean_at_once() -> None:
    for nothing in ({"in": None}, {"at": None}, {"in": None, "at": None}):
        arguments = read(json.dumps({"type": "a", "payload": {}, **nothing}))
        assert (arguments.get("scheduled_at"), arguments.get("delay")) == (None, None)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("5m", 300.0), ("1h30m", 5400.0), ("90", 90.0), (90, 90), (1.5, 1.5), (None, None),
        ("0", None), ("none", None), ("OFF", None), (0, None),
    ],
)  # fmt: skip
def test_a_deadline_is_a_duration_as_the_flag_takes_it(said: object, seconds: object) -> None:
    line = {"type": "a", "payload": {}, "timeout": said, "kill_grace": "2s"}
    arguments = read(json.dumps(line))
    assert (arguments["job_timeout"], arguments["kill_grace"]) == (seconds, 2.0)


def test_an_instant_is_iso_8601() -> None:
    due = read('{"type":"a","payload":{},"at":"2026-05-01T09:00Z"}')["scheduled_at"]
    assert due == datetime(2026, 5, 1, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not JSON"),
        ("[1]", "not a JSON object"),
        ("null", "not a JSON object"),
        (b'{"type": "\xff"}', "not UTF-8"),
        ("{}", "type and payload must be given"),
        ('{"type":"a"}', "payload must be given"),
        (
            '{"type":"a","payload":{},"prio":1}',
            "unknown key 'prio', did you mean 'priority'?; a line may have",
        ),
        ('{"type":"a","payload":{},"in":"soon"}', "in is 'soon': give seconds"),
        ('{"type":"a","payload":{},"in":"9999999999d"}', "in is '9999999999d'"),
        ('{"type":"a","payload":{},"in":true}', "in is True: give seconds"),
        ('{"type":"a","payload":{},"in":1e400}', "in is inf: give at most 36500d"),
        ('{"type":"a","payload":{},"in":-5}', "in is -5: give seconds"),
        ('{"type":"a","payload":{},"in":"30m1h"}', "in is '30m1h': give seconds"),
        ('{"type":"a","payload":{},"timeout":"soon"}', "timeout is 'soon': give seconds"),
        ('{"type":"a","payload":{},"timeout":[5]}', "timeout is [5]: give seconds"),
        ('{"type":"a","payload":{},"kill_grace":"x"}', "kill_grace is 'x': give seconds"),
        (
            '{"type":"a","payload":{},"priorty":1}',
            "unknown key 'priorty', did you mean 'priority'?",
        ),
        ('{"type":"a","payload":{},"at":"soon"}', "at is 'soon'; give ISO 8601"),
        ('{"type":"a","payload":{},"at":"2026-05-01","in":5}', "exclude each other"),
        ("[" * 200_000, "nested deeper than 64 levels"),
    ],
)
def test_a_bad_line_is_refused_with_its_reason(text: str | bytes, reason: str) -> None:
    with pytest.raises(ValidationError) as caught:
        read(text)
    assert reason in str(caught.value)


def test_lines_are_numbered_and_empty_ones_left_out() -> None:
    lines = numbered(io.BytesIO(b"a\n\n  \r\nb\r\nc"))
    assert [(line.number, line.text) for line in lines] == [(1, b"a\n"), (4, b"b\r\n"), (5, b"c")]


def test_a_byte_order_mark_is_not_part_of_the_first_line() -> None:
    assert read(b'\xef\xbb\xbf{"type":"a","payload":{}}')["job_type"] == "a"


def test_a_line_that_is_too_long_is_refused_and_the_next_one_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(job_lines, "LONGEST", 10)
    lines = list(numbered(io.BytesIO(b"x" * 25 + b"\nshort\n" + b"y" * 9 + b"\n" + b"z" * 30)))
    assert [(line.number, line.text) for line in lines] == [
        (1, None), (2, b"short\n"), (3, b"y" * 9 + b"\n"), (4, None),
    ]  # fmt: skip
    with pytest.raises(ValidationError, match="longer than 10 bytes"):
        read_line(lines[0], {})


_VALUES = (
    st.sampled_from(ODD_VALUES) | st.integers() | st.floats() | st.text()
    | st.dictionaries(st.text(), st.none() | st.integers() | st.text())
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(sorted(job_lines._NAMES)), _VALUES))
def test_any_line_is_a_job_or_refused_with_words(entries: dict[str, Any]) -> None:
    line = json.dumps({"type": "a.b", "payload": {}, **entries})
    with suppress(ValidationError):
        drafted(new_job(read(line)))


@given(st.binary())
def test_any_bytes_are_a_job_or_refused_with_words(data: bytes) -> None:
    with pytest.raises(ValidationError, match=r"."):
        read(data)
