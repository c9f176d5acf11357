"""The URL of a PostgreSQL queue: which database, which schema, and how to connect."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote, urlencode

from portico.adapters.job_queue._admission import OPTIONS, Admission
from portico.exceptions import ConfigurationError
from portico.utils.store_urls import options_of, taken_apart

SCHEMES = ("postgresql", "postgres")
DEFAULT_SCHEMA = "portico"
OWN_PATH = "pg_catalog, pg_temp"
"""The `search_path` of our sessions and functions. In another schema somebody else may have laid
functions and operators that fit better than the server's own, and would run with our rights."""

_OWN = frozenset({
    "schema", "migrate", "pgbouncer", "pool_size", "connect_timeout", "command_timeout",
    "tcp_user_timeout", *OPTIONS,
})  # fmt: skip
_LIBPQ = frozenset({
    "host", "port", "dbname", "user", "password", "passfile", "service", "sslmode", "sslcert",
    "sslkey", "sslrootcert", "sslcrl", "sslpassword", "sslnegotiation", "krbsrvname", "gsslib",
    "ssl_min_protocol_version", "ssl_max_protocol_version", "target_session_attrs",
    "application_name",
})  # fmt: skip
"""These go to the driver, in the spelling of PostgreSQL's own library."""
_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_SCHEMA = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,47}")
"""Leaves room for the name of a channel, which PostgreSQL limits to 63 bytes."""
_LARGEST_POOL = 100
_LONGEST_COMMAND = 600.0


@dataclass(frozen=True)
class PostgresPlace:
    """One schema of one database, and how to connect to it."""

    url: str
    """For messages: without passwords."""
    schema: str
    migrate: bool
    pgbouncer: bool | None
    """Whether a pooler stands before the server; `None`: find out."""
    pool_size: int
    connect_timeout: float
    command_timeout: float
    tcp_user_timeout: int
    """Milliseconds after which the system gives up a connection that acknowledges nothing."""
    tls: str
    """How much encryption matters: `prefer` takes a server without it as it is."""
    database: str | None = field(repr=False)
    """Its name, where the URL tells it."""
    connect: Mapping[str, Any] = field(repr=False)
    """What the driver's `connect` takes, secrets included."""

    def __str__(self) -> str:
        return f"queue URL {self.url}"

    @property
    def quoted_schema(self) -> str:
        """The schema's name as SQL takes it."""
        return f'"{self.schema}"'

    @property
    def channel(self) -> str:
        """The channel on which its news are told."""
        return f"{self.schema}.portico"


def place_of(url: str, *, reading: bool = False) -> tuple[PostgresPlace, Admission]:
    """Read a `postgresql://` URL.

    Args:
        url: what to read.
        reading: whether nothing is to be made: then one server that takes no writes will do.

    Raises:
        ConfigurationError: it is not understood; the message says what to write.
    """
    parts = taken_apart(url)
    shown = parts.shown
    if parts.scheme not in SCHEMES:
        raise ConfigurationError(
            f"queue URL is {shown!r}; give postgresql://user:password@host/database"
        )
    options = options_of(parts, _OWN | _LIBPQ)
    address = f"postgresql://{_login(parts.login)}{parts.hosts}{parts.path}"
    tls = _tls(shown, address, options)
    migrate = _one_of(shown, options, "migrate", {"yes": True, "no": False}, default="yes") is True
    if reading and len(_hosts(address, options)) == 1:
        options.setdefault("target_session_attrs", "any")
    place = PostgresPlace(
        shown,
        _schema(shown, options),
        not reading and migrate,
        _one_of(
            shown, options, "pgbouncer", {"yes": True, "no": False, "auto": None}, default="auto"
        ),
        int(_number(shown, options, "pool_size", 8, least=1, most=_LARGEST_POOL, whole=True)),
        _number(shown, options, "connect_timeout", 5, least=0.1, most=_LONGEST_COMMAND),
        _number(shown, options, "command_timeout", 10, least=0.1, most=_LONGEST_COMMAND),
        int(
            _number(shown, options, "tcp_user_timeout", 10_000, least=0, most=2**31 - 1, whole=True)
        ),
        tls,
        options.get("dbname", unquote(parts.path[1:])) or None,
        _connect(shown, address, options, tls),
    )
    return place, Admission.of(shown, options)


def _login(login: str | None) -> str:
    """With every character spelled out that the driver would stumble over, such as a bracket."""
    if login is None:
        return ""
    user, colon, password = login.partition(":")
    return f"{quote(unquote(user), safe='')}{colon}{quote(unquote(password), safe='')}@"


def _tls(shown: str, address: str, options: Mapping[str, str]) -> str:
    mode = options.get("sslmode", os.environ.get("PGSSLMODE"))
    if mode is None:
        local = all(map(_is_local, _hosts(address, options)))
        return "prefer" if local else "verify-full"
    if mode not in _SSL_MODES:
        raise ConfigurationError(
            f"queue URL {shown!r} has sslmode={mode!r}; give one of {', '.join(_SSL_MODES)}"
        )
    return mode


def _connect(shown: str, address: str, options: Mapping[str, str], tls: str) -> Mapping[str, Any]:
    passed = {name: value for name, value in options.items() if name in _LIBPQ}
    passed.setdefault("application_name", "portico")
    attributes = passed.pop("target_session_attrs", "read-write")
    _check_files(shown, passed)
    known: dict[str, Any] = {"target_session_attrs": attributes}
    if tls == "verify-full":
        passed["sslmode"] = tls
    if tls == "verify-full" and not _own_trust(options):
        del passed["sslmode"]
        known["ssl"] = True  # the system's certificates, and the host's name
    known["dsn"] = f"{address}?{urlencode(passed)}"
    return known


def _check_files(shown: str, options: Mapping[str, str]) -> None:
    """A file that is not there would be told as a server that is away, and waited for."""
    for name in _FILES:
        path = options.get(name, "system")
        if path != "system" and not os.path.isfile(path):
            raise ConfigurationError(
                f"queue URL {shown!r} has {name}={path!r}, which is no file; give the path of one"
            )


def _own_trust(options: Mapping[str, str]) -> bool:
    """Whether certificates other than the system's are to be used."""
    asked = options.get("sslrootcert", os.environ.get("PGSSLROOTCERT", "system"))
    own = os.path.exists(os.path.expanduser("~/.postgresql/root.crt"))
    return asked != "system" or "sslcert" in options or own


def _hosts(address: str, options: Mapping[str, str]) -> list[str]:
    authority = address.partition("://")[2].partition("/")[0].rpartition("@")[2]
    named = authority or options.get("host") or os.environ.get("PGHOST") or "localhost"
    return [unquote(_host(one)) for one in named.split(",")]


def _host(one: str) -> str:
    if one.startswith("["):
        return one[1:].partition("]")[0]
    return one.partition(":")[0] if one.count(":") == 1 else one


def _is_local(host: str) -> bool:
    return host in ("", "localhost", "::1") or host.startswith(("/", "127."))


def _schema(shown: str, options: Mapping[str, str]) -> str:
    name = options.get("schema", DEFAULT_SCHEMA)
    if not _SCHEMA.fullmatch(name) or name.lower().startswith("pg_"):
        raise ConfigurationError(
            f"queue URL {shown!r} has schema={name!r}; give 1 to 48 letters, digits or _, "
            "beginning with a letter or _, and not with pg_"
        )
    return name


def _one_of(
    shown: str,
    options: Mapping[str, str],
    name: str,
    meanings: Mapping[str, bool | None],
    *,
    default: str,
) -> bool | None:
    value = options.get(name, default)
    if value not in meanings:
        raise ConfigurationError(
            f"queue URL {shown!r} has {name}={value!r}; give {' or '.join(meanings)}"
        )
    return meanings[value]


def _number(
    shown: str,
    options: Mapping[str, str],
    name: str,
    default: float,
    *,
    least: float,
    most: float,
    whole: bool = False,
) -> float:
    text = options.get(name)
    if text is None:
        return default
    pattern = "[0-9]{1,10}" if whole else r"[0-9]{1,10}(\.[0-9]{1,6})?"
    if re.fullmatch(pattern, text) and least <= float(text) <= most:
        return float(text)
    what = "a whole number" if whole else "a number"
    raise ConfigurationError(
        f"queue URL {shown!r} has {name}={text!r}; give {what} from {least:g} to {most:g}"
    )
