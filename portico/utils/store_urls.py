"""The URL of a store: taken apart by one rule, and shown without what is secret in it.

What is shown is put together from the parts that are known to be harmless; nothing is searched for
a secret. Where a password might be anything, because `/ ? #` or `@` stand in it as they are, all
behind the scheme is left out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote_plus

from portico.exceptions import ConfigurationError

MASK = "***"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*\Z")
_WITHOUT_SERVER = ("sqlite", "memory")
"""Their URLs name no host and no user, so an @ is part of a file's name."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]|%00|%7[Ff]|%[01][0-9A-Fa-f]")
_USER = re.compile(r"[\w.-]{1,63}")
_HOST = re.compile(
    r"(?:\[[0-9A-Fa-f:.]+\]|%2[Ff][\w.%-]*|[A-Za-z0-9_-][A-Za-z0-9._-]*)(?::[0-9]{1,5})?|"
)
_PATH = re.compile(r"[\w/.,$~+%-]{0,500}")
_VALUE = re.compile(r"[\w.,:/+-]{0,80}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,39}")
_PLAIN = re.compile(r"(?:(?:sqlite|memory):)?[\w./ -]{0,200}")
_SECRET_NAME = re.compile("pass|secret|token|key|user|service", re.IGNORECASE)
_HARMLESS = frozenset({
    "application_name", "command_timeout", "connect_timeout", "db", "durability", "eviction",
    "max_horizon", "max_pending", "migrate", "namespace", "pgbouncer", "pool_size", "schema",
    "sslmode", "target_session_attrs", "tcp_user_timeout", "timeout", "tls_insecure",
})  # fmt: skip
"""Options whose values are shown."""


class StoreUrl(NamedTuple):
    """The parts as they are written: nothing is decoded."""

    shown: str
    """For messages."""
    scheme: str
    login: str | None
    """`user:password`, `user` or `:password`; `None` where there is no @."""
    hosts: str
    path: str
    """With the slash that it begins with."""
    query: str


def taken_apart(url: str) -> StoreUrl:
    """Take a URL apart.

    Raises:
        ConfigurationError: it cannot be read, or only in more than one way; the message says what
            to write, and quotes nothing that may be a password.
    """
    told = shown(url)
    if found := _CONTROL.search(url):
        what = "a line break" if found[0] in "\r\n" else f"the control character {found[0]!r}"
        raise ConfigurationError(
            f"queue URL {told!r} has {what} at character {found.start() + 1} of {len(url)}; "
            "remove it"
        )
    scheme, authority, tail = _split(url)
    if scheme is None:
        raise ConfigurationError(f"queue URL is {told!r}; give scheme://…")
    path, _, query = tail.partition("?")
    if scheme in _WITHOUT_SERVER:
        return StoreUrl(told, scheme, None, authority, path, query)
    if "@" in tail or "#" in tail or not url.isprintable():
        raise ConfigurationError(
            f"queue URL {told!r} cannot be read; write / ? # @ : and % in names, passwords and "
            "options as %2F %3F %23 %40 %3A and %25, and all that is no plain text in the same way"
        )
    login, at, hosts = authority.rpartition("@")
    return StoreUrl(told, scheme, login if at else None, hosts, path, query)


def shown(url: str) -> str:
    """The URL for messages: scheme, user, hosts, path and harmless options; of whatever text."""
    scheme, authority, tail = _split(url)
    if scheme is None:
        return url if _PLAIN.fullmatch(url) else MASK
    if scheme in _WITHOUT_SERVER:
        path, _, query = tail.partition("?")
        known = _HOST.fullmatch(authority)
        return (
            f"{scheme}://{authority}{path}{_options_shown(query)}"
            if known
            else (f"{scheme}://{MASK}")
        )
    if _CONTROL.search(tail):  # may be a part of a password, as all beside it
        return f"{scheme}://{MASK}"
    login, at, hosts = authority.rpartition("@")
    hosts = ",".join(one if _HOST.fullmatch(one) else MASK for one in hosts.split(","))
    if "@" in tail or (MASK in hosts and not at):
        return f"{scheme}://{MASK}"
    path, _, query = tail.partition("#")[0].partition("?")
    path = path if _PATH.fullmatch(path) else f"/{MASK}"
    return f"{scheme}://{_login_shown(scheme, login) + at if at else ''}{hosts}{path}" + (
        _options_shown(query)
    )


def options_of(url: StoreUrl, known: Collection[str]) -> dict[str, str]:
    """What stands behind the question mark, each of it known.

    Raises:
        ConfigurationError: it cannot be read, or an option is not known; its name is quoted where
            it can be no part of a password.
    """
    try:
        pairs = parse_qsl(url.query, keep_blank_values=True, strict_parsing=bool(url.query))
    except ValueError:
        raise ConfigurationError(
            f"queue URL {url.shown!r} has options that cannot be read; give name=value, joined by &"
        ) from None
    options = dict(pairs)
    for name in options:
        if name not in known:
            raise ConfigurationError(
                f"queue URL {url.shown!r} has {_told(name, options, url)}; there are "
                f"{', '.join(sorted(known))}"
            )
    return options


def _told(name: str, options: Mapping[str, str], url: StoreUrl) -> str:
    """A name that is not known: behind a password with an & or ? in it, it may be its rest."""
    earlier = list(options)[: list(options).index(name)]
    doubtful = url.shown.endswith(f"://{MASK}") or any(map(_SECRET_NAME.search, earlier))
    quoted = _NAME.fullmatch(name) and not doubtful
    return f"the option {name!r}" if quoted else "an option that is not known"


def _split(url: str) -> tuple[str | None, str, str]:
    scheme, separator, rest = url.partition("://")
    if not separator or not _SCHEME.match(scheme):
        return None, "", ""
    found = re.search("[/?#]", rest)
    end = found.start() if found else len(rest)
    return scheme, rest[:end], rest[end:]


def _login_shown(scheme: str, login: str) -> str:
    user, colon, _ = login.partition(":")
    known = _USER.fullmatch(user) and (colon or scheme.startswith("postgres"))
    name = user if known or not user else MASK  # alone it may be a password, in the wrong place
    return f"{name}:{MASK}" if colon else name


def _options_shown(query: str) -> str:
    shown = []
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if _SECRET_NAME.search(unquote_plus(name)):
            break  # an & in a password would make an option of its rest
        if name in _HARMLESS and _VALUE.fullmatch(value):
            shown.append(pair)
    return f"?{'&'.join(shown)}" if shown else ""
