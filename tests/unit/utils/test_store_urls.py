"""URLs of stores, of whatever text: shown without their secrets, read or refused in words."""

from __future__ import annotations

import contextlib
import string
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from portico import compose
from portico.exceptions import ConfigurationError
from portico.ports.job_queue import JobQueueAdapter
from portico.supervisor.config import SupervisorConfig, configure
from portico.supervisor.trouble import Notice, troubles
from portico.utils.log_lines import masked_urls
from portico.utils.store_urls import shown

pytestmark = pytest.mark.security("S7")

SCHEMES = [*compose._QUEUES, "table", "amqp", "mysql+x", "no_scheme"]
PLACES = [
    "h",
    "h:6379/0",
    "h,i:7/name/0",
    "[::1]:5432/d",
    "h/d?schema=x",
    "%2Ftmp/d",
    "",
    "h:x",
    "h/d#x",
]
QUERIES = ["password", "sslpassword", "sentinel_password", "PASSWORD", "pass%77ord", "p%61ssword"]
MARK = "Zq7"
"""Is in each secret, so that a piece of it that is told is noticed, and nowhere else."""


def secrets() -> st.SearchStrategy[str]:
    """Passwords of any characters, with the mark at either end and in between."""
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
    awkward = st.text(string.punctuation + string.digits + " \t'\"<>", max_size=12)
    part = text | awkward | st.just("x" * 300) | st.just("12345/") | st.just("1?")
    return st.tuples(part, part).map(lambda two: f"{MARK}{two[0]}{MARK}{two[1]}{MARK}")


def said_of(url: str) -> str:
    """All that is told of a URL by whoever is given it."""
    told = [shown(url)]
    for build in (compose.job_queue, compose.audit, compose.schema_keeper):
        try:
            made = build(url)
        except ConfigurationError as error:
            told.append(f"{error} {error!r} {error.details} {error.cause!r} {error.__cause__!r}")
        else:
            told.append(f"{made!r} {getattr(made, '_place', '')!r}")
    return "\n".join(told)


@given(st.sampled_from(SCHEMES), secrets(), st.sampled_from(PLACES), st.booleans())
@example("redis", f"it's {MARK}", "h/0", False)
@example("redis", f'say"{MARK}<>', "h/0", False)
@example("postgresql", f"12345/{MARK}", "h/d", False)
@example("postgresql", f"1?{MARK}", "h/d", False)
@example("redis", f"8080#{MARK}", "h", False)
@example("redis", f"[{MARK}", "h/0", False)
@example("postgresql", f"a@b/{MARK}", "h/d", False)
def test_no_password_is_told_whatever_it_is_made_of(
    scheme: str, secret: str, place: str, encoded: bool
) -> None:
    assume(not (scheme in ("sqlite", "memory") and secret.startswith("/")))
    password = quote(secret, safe="") if encoded else secret
    for login in (f"user:{password}", f":{password}"):
        assert MARK not in said_of(f"{scheme}://{login}@{place}")


@given(st.sampled_from(SCHEMES), secrets(), st.sampled_from(QUERIES))
@example("postgresql", f"it's-{MARK}", "password")
@example("postgresql", f"a&{MARK}", "password")
@example("redis", f"a@{MARK}/b", "sentinel_password")
def test_no_password_that_is_an_option_is_told(scheme: str, secret: str, name: str) -> None:
    for written in (secret, quote(secret, safe="")):
        assert MARK not in said_of(f"{scheme}://h/d?{name}={written}")


@given(st.sampled_from(SCHEMES), secrets())
def test_a_password_that_nobody_can_find_is_not_told_for_that(scheme: str, secret: str) -> None:
    """The user's part alone: the @ and all behind it were forgotten."""
    assume(scheme not in ("sqlite", "memory"))  # it may well be a file's name there
    assume("@" not in secret)  # its rest would be the host's name
    assert MARK not in said_of(f"{scheme}://:{secret}")


@given(st.sampled_from(["postgresql", "redis", "redis+sentinel", "mongodb"]), secrets())
@example("redis", f"12345/{MARK}")
@example("redis", f"it's {MARK}")
@example("postgresql", "x" * 300 + MARK)
def test_the_last_net_holds_passwords_of_stores_in_any_text(scheme: str, secret: str) -> None:
    assume("\n" not in secret and "://" not in secret)
    assume(not (secret[:1].isdigit() and " " in secret))
    said = masked_urls(f'driver said: "{scheme}://user:{secret}@host/0" is away')
    assert MARK not in said
    assert "host/0" in said
    for name in QUERIES:
        written = secret.replace("&", "%26")
        assert MARK not in masked_urls(f"{scheme}://h/d?{name}={written}")


@given(
    st.sampled_from([*SCHEMES, ""]).flatmap(
        lambda scheme: st.text(max_size=40).map(lambda rest: f"{scheme}://{rest}")
    )
    | st.text(max_size=40)
    | st.text(string.printable, max_size=40).map(lambda rest: f"redis://{rest}")
    | st.text("/?#@:&=%0[],.ab", max_size=20).map(lambda rest: f"postgresql://{rest}")
    | st.text("/?#@:&=%0[],.ab\n", max_size=20).map(lambda rest: f"sqlite:///{rest}")
)
@example("sqlite:///a%00b")
@example("redis://:[@h/0")
@example("redis://h/0?timeout=")
@example("redis://h:6379/\u00b2")
@example("postgresql://[h/d")
@example("postgresql://h/d?sslrootcert=%00")
@example("sqlite:///jobs.db\n")
@example("redis://h\udcff/0")
@example("memory://?max_pending=%00")
def test_every_text_gives_an_adapter_or_is_refused(url: str) -> None:
    shown(url)
    with contextlib.suppress(ConfigurationError):
        assert isinstance(compose.job_queue(url), JobQueueAdapter)
    with contextlib.suppress(ConfigurationError):
        compose.audit(url)
    compose.sqlite_file(url)
    assert isinstance(compose.same_file(url, "sqlite:///other.db"), bool)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite:///jobs.db\n", "has a line break at character 18 of 18; remove it"),
        ("redis://h/0\r\n", "has a line break at character 12 of 13"),
        ("sqlite:///a%00b", "the control character '%00'"),
        ("sqlite:///a\udcff.db", "bytes that are no text, .* another name"),
        ("postgresql://u:a/b@h/d", r"cannot be read; write / \? # @"),
        ("postgresql://h/d?secret&password=x", "options that cannot be read"),
        ("redis://h/0?timeot=5", "has the option 'timeot'; there are .*timeout"),
        ("postgresql://h/d?password=a&b=c", "has an option that is not known"),
        ("redis://:p@/0", "names no server"),
        ("redis+unix://h/x.sock", "names no socket; give its path"),
        ("unix:///x.sock?db=a", "has db='a'; give the number of a database"),
    ],
)
def test_what_cannot_be_read_is_said_with_the_place_and_the_way_out(url: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        compose.job_queue(url)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://ann:x@db.example:5433/jobs?schema=a&sslmode=disable",
         "postgresql://ann:***@db.example:5433/jobs?schema=a&sslmode=disable"),
        ("postgresql://ann@h,i:7/jobs", "postgresql://ann@h,i:7/jobs"),
        ("redis://secret@h/0", "redis://***@h/0"),
        ("redis+sentinel://:x@a,b:7/main/0?sentinel_password=y",
         "redis+sentinel://:***@a,b:7/main/0"),
        ("sqlite:////srv/jobs@home.db?durability=normal",
         "sqlite:////srv/jobs@home.db?durability=normal"),
        ("jobs.db", "jobs.db"),
    ],
)  # fmt: skip
def test_what_is_no_secret_is_shown(url: str, told: str) -> None:
    assert shown(url) == told


def test_a_file_in_a_folder_that_is_gone_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(ConfigurationError, match="the current directory is not there any more"):
        compose.job_queue("sqlite:///jobs.db")


@pytest.mark.parametrize("where", ["user:***@h/0", "***@h/0", "h:6379/0", "h/0", ":***@h"])
def test_what_is_said_behind_a_url_that_is_masked_already_stays(where: str) -> None:
    said = f"queue URL redis://{where}: this user may not do that; allow it +@all -@admin +info"
    assert masked_urls(said) == said


def test_neither_a_configuration_nor_what_status_reads_holds_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    url = f"postgresql://ann:it's {MARK}@h/jobs"
    assert MARK not in repr(SupervisorConfig(workers=1, queue_url=url, audit_url=url))
    notice = Notice(url)
    notice.put(seconds=1.0, said=f"the driver cannot reach {url}", waiting=0)
    [told] = troubles(url)
    [written] = tmp_path.rglob("*.json")
    notice.clear()
    assert MARK not in written.name + repr(told) + str(told)
    assert "the driver cannot reach postgresql://ann:***@h/jobs" in str(told)


def test_a_store_in_the_place_of_another_setting_is_shown_without_its_password() -> None:
    with pytest.raises(ConfigurationError, match=r"--workers is 'redis://:\*\*\*@h/0'") as refused:
        configure({"workers": f"redis://:it's {MARK}@h/0"}, {})
    assert MARK not in f"{refused.value} {refused.value.details}"
