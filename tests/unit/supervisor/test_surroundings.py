from __future__ import annotations

import pytest

from portico.exceptions import ConfigurationError
from portico.supervisor.config import configure
from portico.supervisor.surroundings import missed, passed_on

OURS = (
    "PORTICO_QUEUE_URL", "PORTICO_AUDIT_URL", "PORTICO_WORKERS", "PORTICO_QUEUE_URL_FILE",
    "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES",
)  # fmt: skip
SECRETS = (
    "PGHOST", "PGPASSWORD", "PGPASSFILE", "PGSERVICEFILE", "PGSSLKEY", "REDISCLI_AUTH",
    "CREDENTIALS_DIRECTORY",
)  # fmt: skip
THEIRS = (
    "PATH", "HOME", "DATABASE_URL", "REDIS_URL", "AWS_SECRET_ACCESS_KEY", "PORTICO_SMTP_HOST",
    "PGBOUNCER_POOL", "PG", "INVOCATION_ID", "JOURNAL_STREAM", "MY_PORTICO_QUEUE_URL", "XPGHOST",
)  # fmt: skip
ALL = dict.fromkeys((*OURS, *SECRETS, *THEIRS), "a value")


def test_what_is_the_supervisors_stays_with_it_and_all_else_is_the_applications() -> None:
    assert passed_on(ALL, ()).keys() == set(THEIRS)


def test_what_is_asked_for_by_name_or_by_its_beginning_is_passed_on() -> None:
    wanted = ("PGHOST", "LISTEN_*")
    assert passed_on(ALL, wanted).keys() - set(THEIRS) == {
        "PGHOST", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES",
    }  # fmt: skip
    assert set(SECRETS) <= passed_on(ALL, ("PG*", "REDISCLI_AUTH", "CREDENTIALS_*")).keys()


def test_what_an_application_may_look_for_in_vain_is_named() -> None:
    assert missed(ALL, ("PGHOST",)) == sorted({*SECRETS} - {"PGHOST"})
    assert missed({"PORTICO_QUEUE_URL": "", "NOTIFY_SOCKET": ""}, ()) == []


@pytest.mark.parametrize("text", ["PG HOST", "*", "PG*X", "1PG", "PGHOST=db"])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"--pass-env.*is no variable's name"):
        configure({"pass_env": text}, {})


def test_names_are_a_list() -> None:
    assert configure({"pass_env": "PGHOST, PG*,PGHOST"}, {}).pass_env == ("PGHOST", "PG*")
