from __future__ import annotations

import pytest

from benchmarks.places import driver_url, place_of, shown


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("memory://", "memory://"),
        ("sqlite:////tmp/x/jobs.db?durability=normal", "sqlite://?durability=normal"),
        ("postgresql://me:secret@host:1/db", "postgresql://"),
    ],
)
def test_a_url_is_shown_without_its_address(url, expected):
    assert shown(url) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://:p%40ss@host:1/2?timeout=3", "redis://:p%40ss@host:1/2"),
        ("valkey://host/0", "redis://host/0"),
        ("valkeys://host/0", "rediss://host/0"),
        ("rediss://host/0?tls_ca=/a/b.pem", "rediss://host/0?ssl_ca_certs=%2Fa%2Fb.pem"),
        (
            "rediss://host/0?tls_insecure=yes",
            "rediss://host/0?ssl_cert_reqs=none&ssl_check_hostname=False",
        ),
    ],
)
def test_a_server_is_told_to_the_driver_in_the_drivers_spelling(url, expected):
    assert driver_url(url) == expected


@pytest.mark.parametrize("scheme", ["redis+sentinel", "rediss+sentinel", "redis+cluster"])
def test_several_servers_are_refused_with_what_to_give_instead(scheme):
    with pytest.raises(ValueError, match="leads to several servers") as refused:
        place_of(f"{scheme}://:secret@host,host/jobs/0")
    assert "redis://… or rediss://…" in str(refused.value)
    assert "secret" not in str(refused.value)


def test_an_unknown_scheme_is_refused_with_those_that_are_known():
    with pytest.raises(ValueError, match="mysql:// is not known; there are memory"):
        place_of("mysql://me:secret@host/db")
