"""How the text of a setting becomes a value: one parser for each kind."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from typing import Any

from portico.ports.names import NAME
from portico.supervisor.privileges import Limits
from portico.utils.durations import seconds_of


class Unusable(ValueError):
    """A value that a setting cannot take; the text is the way out."""


def whole(lowest: int, highest: int | None = None) -> Callable[[str], int]:
    """A parser of whole numbers in a range."""
    limits = f"of at least {lowest}" if highest is None else f"from {lowest} to {highest}"

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise Unusable(f"give a whole number {limits}") from None
        if number < lowest or (highest is not None and number > highest):
            raise Unusable(f"give a whole number {limits}")
        return number

    return parse


def duration(text: str) -> float:
    """Seconds from `90`, `1.5s`, `5m`, `1h30m` or `1d`."""
    try:
        return seconds_of(text)
    except ValueError as way_out:
        raise Unusable(str(way_out)) from None


def at_least_a_second(text: str) -> float:
    """A duration of one second or more."""
    seconds = duration(text)
    if seconds < 1:
        raise Unusable("give at least one second")
    return seconds


def timeout(text: str) -> float | None:
    """A duration, or `None` from `0`, `none` or `off`."""
    return None if text.strip().lower() in {"0", "none", "off"} else duration(text)


def size(text: str) -> int:
    """Bytes from `512M` or `2G`; a bare number counts KiB, as Celery's option of that name does."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg]?)(?:i?b)?", text.strip().lower())
    if not match or float(match[1]) == 0:
        raise Unusable("give a size such as 512M or 2G; a bare number counts KiB")
    power = {"k": 1, "m": 2, "g": 3, "": 1}[match[2]]
    return int(float(match[1]) * 1024**power)


def size_or_none(text: str) -> int | None:
    """A size, or `None` from `0`, `none` or `off`."""
    return None if text.strip().lower() in {"0", "none", "off"} else size(text)


def names(text: str) -> tuple[str, ...]:
    """Queue names from a comma list, in order, each once."""
    found = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not found:
        raise Unusable("give at least one queue, such as high,default,low")
    for name in found:
        if not NAME.fullmatch(name):
            raise Unusable(f"{name!r} is no queue name; use letters, digits or any of _ . : -")
    return found


def variables(text: str) -> tuple[str, ...]:
    """Names of environment variables from a comma list; a star at the end stands for any rest."""
    found = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    for name in found:
        if not re.fullmatch(r"[A-Za-z_]\w*\*?", name, re.ASCII):
            raise Unusable(f"{name!r} is no variable's name; give such as PGHOST, or PG* for all")
    return found


def one_of(*choices: str) -> Callable[[str], str]:
    """A parser of a closed set of words, in any case."""
    by_case = {choice.lower(): choice for choice in choices}

    def parse(text: str) -> str:
        if text.strip().lower() not in by_case:
            raise Unusable(f"give one of {', '.join(choices)}")
        return by_case[text.strip().lower()]

    return parse


def any_text(text: str) -> str:
    """Any text that is not blank."""
    if not text.strip():
        raise Unusable("it is empty")
    return text


def target(text: str) -> str:
    """What an application is named by, which is told to other processes."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise Unusable("it has bytes that are no text; give module:attribute")
    return any_text(text)


def switch(text: str) -> bool:
    """True or false, in the words people use for it."""
    if text.strip().lower() not in {"1", "true", "yes", "on", "0", "false", "no", "off", ""}:
        raise Unusable("give true or false")
    return text.strip().lower() in {"1", "true", "yes", "on"}


def mask(text: str) -> int:
    """The permissions that new files do not have, in octal as `umask` writes them."""
    if not re.fullmatch("0?[0-7]{1,3}", text.strip()):
        raise Unusable("give octal digits, such as 077 or 027")
    return int(text, 8)


def _bytes(text: str) -> int:
    return 0 if text.strip() == "0" else size(text)


def _paths(text: str) -> tuple[str, ...]:
    """Files and folders, separated by colons; where they really are."""
    found = tuple(os.path.realpath(part) for part in text.split(":") if part)
    if not found:
        raise Unusable("give the folders below which handlers may write, such as /srv/out:/tmp")
    for path in found:
        if not os.path.exists(path):
            raise Unusable(f"there is no {path}; make it first, and give paths without commas")
    return found


_LIMITS: dict[str, Callable[[str], Any]] = {
    "address_space": size,
    "cpu": lambda text: math.ceil(at_least_a_second(text)),
    "files": whole(256),
    "core": _bytes,
    "oom_score": whole(0, 1000),
    "dumpable": switch,
    "sandbox": switch,
    "write": _paths,
}


def limits_of(text: str) -> Limits:
    """What binds a worker, from `address_space=4G,cpu=1h,files=1024`."""
    given = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = part.partition("=")
        if name not in _LIMITS:
            raise Unusable(
                f"{name!r} is no limit; give NAME=VALUE with any of {', '.join(_LIMITS)}"
            )
        try:
            given[name] = _LIMITS[name](value)
        except Unusable as way_out:
            raise Unusable(f"{name}: {way_out}") from None
    if given.get("write") and not given.get("sandbox", True):
        raise Unusable("write= is a part of the sandbox; leave out sandbox=off, or write=")
    return Limits(**given)
