"""The URL of a SQLite queue: which file, and how it is to be kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

from portico.adapters.job_queue._admission import OPTIONS, Admission
from portico.adapters.job_queue._sqlite.connection import Place
from portico.exceptions import ConfigurationError
from portico.utils.store_urls import options_of, taken_apart


def place_of(url: str) -> tuple[Place, Admission]:
    """Read a `sqlite://` URL.

    Raises:
        ConfigurationError: it is not understood; the message says what to write.
    """
    parts = taken_apart(url)
    url = parts.shown
    if parts.scheme != "sqlite" or parts.hosts or not parts.path.startswith("/"):
        raise ConfigurationError(
            f"queue URL is {url!r}; give sqlite:///relative.db or sqlite:////absolute/path.db"
        )
    name = unquote(parts.path[1:])
    if name.strip() in ("", "/"):
        raise ConfigurationError(f"queue URL {url!r} names no file; give sqlite:///jobs.db")
    if name == ":memory:":
        raise ConfigurationError(
            f"queue URL {url!r} names a database that ends with its connection; give memory:// "
            "for a queue in this process, or sqlite:///jobs.db for a file"
        )
    options = options_of(parts, {"durability", *OPTIONS})
    path = _absolute(url, name)
    if not _is_text(path):
        raise ConfigurationError(
            f"queue URL {url!r} leads to {str(path)!r}, with bytes that are no text, which not "
            "every copy of SQLite can open; give the file or its directory another name"
        )
    return Place(url, path, _is_full(url, options)), Admission.of(url, options)


def _is_text(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _absolute(url: str, name: str) -> Path:
    try:
        return Path(name).absolute()
    except OSError as error:
        raise ConfigurationError(
            f"queue URL is {url!r}, and the current directory is not there any more; change to "
            "one that is, or give sqlite:////absolute/path.db",
            cause=error,
        ) from error


def _is_full(url: str, options: Mapping[str, str]) -> bool:
    durability = options.get("durability", "full")
    if durability not in ("full", "normal"):
        raise ConfigurationError(
            f"queue URL {url!r} has durability={durability!r}; give full or normal"
        )
    return durability == "full"
