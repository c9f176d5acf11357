"""Where a Redis store is, and how to speak to it: from its URL, every option checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from portico.adapters.job_queue._admission import OPTIONS, Admission
from portico.exceptions import ConfigurationError
from portico.utils.store_urls import StoreUrl, options_of, taken_apart

PORT, SENTINEL_PORT = 6379, 26379

_SCHEMES = {
    "redis": ("one", False), "rediss": ("one", True), "valkey": ("one", False),
    "valkeys": ("one", True), "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True), "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True), "redis+unix": ("unix", False),
    "valkey+unix": ("unix", False), "unix": ("unix", False),
}  # fmt: skip
SCHEMES = tuple(_SCHEMES)
_NAMESPACE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_KNOWN = frozenset({
    "namespace", "timeout", "connect_timeout", "eviction", "tls_ca", "tls_insecure",
    "sentinel_username", "sentinel_password", *OPTIONS,
})  # fmt: skip
_FORM = "redis://:password@host:6379/0"


@dataclass(frozen=True, kw_only=True)
class RedisPlace:
    """A checked address. `shown` is the URL with its password hidden, for messages."""

    shown: str
    kind: str
    """`one`, `sentinel`, `cluster` or `unix`."""
    hosts: tuple[tuple[str, int], ...]
    socket: str = field(default="", repr=False)
    """The path of a Unix domain socket, in place of hosts."""
    service: str = field(default="", repr=False)
    """The name under which the sentinels know the primary."""
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    tls: bool = False
    tls_ca: str | None = None
    tls_insecure: bool = False
    namespace: str = "default"
    timeout: float = 10.0
    """Seconds that the server has for one answer."""
    connect_timeout: float = 5.0
    eviction_allowed: bool = False
    admission: Admission = Admission()  # noqa: RUF009 - it is immutable

    def __str__(self) -> str:
        return f"queue URL {self.shown}"

    @property
    def prefix(self) -> str:
        """What every key begins with."""
        return f"portico:{{{self.namespace}}}:"


def redis_place(url: str) -> RedisPlace:
    """Read a URL.

    Raises:
        ConfigurationError: something in it is not understood; the message says what to write.
    """
    parts = taken_apart(url)
    shown = parts.shown
    if parts.scheme not in _SCHEMES:
        raise ConfigurationError(f"queue URL is {shown!r}; give {_FORM}")
    kind, tls = _SCHEMES[parts.scheme]
    options = _options(parts, kind)
    hosts: tuple[tuple[str, int], ...] = ()
    if kind == "unix":
        service, database = "", _database(shown, options.get("db", "0"))
    else:
        hosts = _hosts(shown, parts.hosts, SENTINEL_PORT if kind == "sentinel" else PORT)
        service, database = _path(shown, kind, parts.path)
    if kind == "one" and len(hosts) != 1:
        raise ConfigurationError(
            f"queue URL {shown!r} names {len(hosts)} servers; give one, or redis+sentinel://… "
            "or redis+cluster://…"
        )
    username, _, password = (parts.login or "").partition(":")
    if "tls_insecure" in options and not tls:
        raise ConfigurationError(f"queue URL {shown!r} has tls_insecure, but uses no TLS")
    return RedisPlace(
        shown=shown,
        kind=kind,
        hosts=hosts,
        socket=_socket(parts) if kind == "unix" else "",
        service=service,
        database=database,
        username=unquote(username) or None,
        password=unquote(password) or None,
        sentinel_username=options.get("sentinel_username"),
        sentinel_password=options.get("sentinel_password"),
        tls=tls,
        tls_ca=_file(shown, options),
        tls_insecure=_flag(shown, options, "tls_insecure", "yes"),
        namespace=_namespace(shown, options),
        timeout=_seconds(shown, options, "timeout", 10.0),
        connect_timeout=_seconds(shown, options, "connect_timeout", 5.0),
        eviction_allowed=_flag(shown, options, "eviction", "allowed"),
        admission=Admission.of(shown, options),
    )


def _options(parts: StoreUrl, kind: str) -> dict[str, str]:
    own = {"db"} if kind == "unix" else set()
    options = options_of(parts, {*_KNOWN, *own, "ssl_cert_reqs"})
    if "ssl_cert_reqs" in options:
        raise ConfigurationError(
            f"queue URL {parts.shown!r} has ssl_cert_reqs; certificates are verified, with "
            "tls_ca=FILE against an authority of your own, and only tls_insecure=yes turns that off"
        )
    return options


def _hosts(shown: str, hosts: str, port: int) -> tuple[tuple[str, int], ...]:
    found = []
    for address in hosts.split(","):
        match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::([0-9]{1,5}))?", address)
        number = int(match[2] or port) if match else 0
        if match is None or not 0 < number < 65536:  # noqa: PLR2004 - a port has 16 bits
            raise ConfigurationError(
                f"queue URL {shown!r} names no server, or one in a way that cannot be read; give "
                f"host:port, as in {_FORM}"
            )
        found.append((match[1].strip("[]"), number))
    return tuple(found)


def _socket(parts: StoreUrl) -> str:
    if parts.hosts or len(parts.path) <= 1:
        raise ConfigurationError(
            f"queue URL {parts.shown!r} names no socket; give its path, and the number of a "
            f"database: {parts.scheme}:///run/redis/redis.sock?db=0"
        )
    return unquote(parts.path)


def _database(shown: str, number: str) -> int:
    if not re.fullmatch("[0-9]{1,5}", number):
        raise ConfigurationError(
            f"queue URL {shown!r} has db={number!r}; give the number of a database"
        )
    return int(number)


def _path(shown: str, kind: str, path: str) -> tuple[str, int]:
    service, _, number = path.strip("/").rpartition("/")
    if kind == "sentinel" and not number.isdigit():
        service, number = (f"{service}/{number}".strip("/"), "0")
    if kind == "sentinel" and not service:
        raise ConfigurationError(
            f"queue URL {shown!r} does not name the service that the sentinels watch; give "
            "redis+sentinel://host:26379,host:26379/mymaster/0"
        )
    if (service and kind != "sentinel") or not re.fullmatch("[0-9]{0,5}", number):
        raise ConfigurationError(
            f"queue URL {shown!r} has a path that is no number of a database; give it as in {_FORM}"
        )
    if kind == "cluster" and int(number or 0):
        raise ConfigurationError(f"queue URL {shown!r} has a database; a cluster has only 0")
    return service, int(number or 0)


def _namespace(shown: str, options: Mapping[str, str]) -> str:
    name = options.get("namespace", "default")
    if not _NAMESPACE.fullmatch(name):
        raise ConfigurationError(
            f"queue URL {shown!r} has namespace={name!r}; use 1 to 64 letters, digits or any of "
            "_ . -"
        )
    return name


def _seconds(shown: str, options: Mapping[str, str], name: str, default: float) -> float:
    value = options.get(name)
    if value is None:
        return default
    match = re.fullmatch(r"([0-9]{1,4}(?:\.[0-9]{1,3})?)s?", value)
    if match is None or not 0 < float(match[1]) <= 60:  # noqa: PLR2004 - a lease is not longer
        raise ConfigurationError(
            f"queue URL {shown!r} has {name}={value!r}; give seconds, more than 0 and at most 60"
        )
    return float(match[1])


def _flag(shown: str, options: Mapping[str, str], name: str, word: str) -> bool:
    value = options.get(name)
    if value not in (None, word):
        raise ConfigurationError(
            f"queue URL {shown!r} has {name}={value!r}; the only value is {word!r}"
        )
    return value is not None


def _file(shown: str, options: Mapping[str, str]) -> str | None:
    path = options.get("tls_ca")
    if path is not None and not Path(path).is_file():
        raise ConfigurationError(
            f"queue URL {shown!r} has tls_ca={path!r}, which is no file; give the certificate of "
            "the authority"
        )
    return path
