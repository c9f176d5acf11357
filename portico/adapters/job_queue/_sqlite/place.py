"""The URL of a SQLite queue: which file, and how it is to be kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from portico.adapters.job_queue._admission import OPTIONS, Admission
from portico.adapters.job_queue._sqlite.connection import Place
from portico.exceptions import ConfigurationError
from portico.utils.log_lines import masked_urls


def place_of(url: str) -> tuple[Place, Admission]:
    """Read a `sqlite://` URL.

    Raises:
        ConfigurationError: it is not understood; the message says what to write.
    """
    url = masked_urls(url)  # it goes into messages
    address, _, query = url.partition("?")
    scheme, _, path = address.partition("://")
    if scheme != "sqlite" or not path.startswith("/"):
        raise ConfigurationError(
            f"queue URL is {url!r}; give sqlite:///relative.db or sqlite:////absolute/path.db"
        )
    name = unquote(path[1:])
    if name.strip() in ("", "/"):
        raise ConfigurationError(f"queue URL {url!r} names no file; give sqlite:///jobs.db")
    if name == ":memory:":
        raise ConfigurationError(
            f"queue URL {url!r} names a database that ends with its connection; give memory:// "
            "for a queue in this process, or sqlite:///jobs.db for a file"
        )
    options = dict(parse_qsl(query, keep_blank_values=True))
    place = Place(url, Path(name).absolute(), _is_full(url, options))
    return place, Admission.of(url, options)


def _is_full(url: str, options: Mapping[str, str]) -> bool:
    known = {"durability", *OPTIONS}
    unknown = sorted(options.keys() - known)
    if unknown:
        raise ConfigurationError(
            f"queue URL {url!r} has the option {unknown[0]!r}; there are {', '.join(sorted(known))}"
        )
    durability = options.get("durability", "full")
    if durability not in ("full", "normal"):
        raise ConfigurationError(
            f"queue URL {url!r} has durability={durability!r}; give full or normal"
        )
    return durability == "full"
