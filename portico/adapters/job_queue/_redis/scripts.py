"""The scripts, put together from the files in `lua/`, each with what Redis must know of it.

A script begins with the prelude, with the books where it writes, and with the state table where
attempts end. `allow-oom` goes to
what frees memory or acknowledges: it must get through when the server is full. Leasing and
inserting make the data grow, and are refused then.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from portico.ports.leasing import MAX_CRASHES, MAX_EXPIRIES, MAX_HISTORY

VERSION = 2
"""Of what the scripts keep. A release that would misread what an older one wrote, or write what
that one would misread, has a higher number, and scripts that bring the older one's data along."""
CLOCK = "clock.lua"
"""The file that says what time it is."""
DAMAGE = "damage met"
"""How an answer begins that tells of damage, too: what was asked follows, and then the damage."""

_FLAGS = {
    "insert": "",
    "lease": "",
    "look": "",
    "settle": " flags=allow-oom",
    "give_back": " flags=allow-oom",
    "renew": " flags=allow-oom",
    "recover": " flags=allow-oom",
    "mend": " flags=allow-oom",
    "cancel": " flags=allow-oom",
    "request_cancel": " flags=allow-oom",
    "redrive": " flags=allow-oom",
    "purge": " flags=allow-oom",
    "told": " flags=no-writes",
    "page": " flags=no-writes",
    "counts": " flags=no-writes",
    "now": " flags=no-writes",
    "outlook": " flags=no-writes",
    "version": " flags=no-writes",
    "cancel_requests": " flags=no-writes",
}
_READING = frozenset(name for name, flags in _FLAGS.items() if "no-writes" in flags)
_ENDING = frozenset({"settle", "lease", "give_back", "recover", "mend", "cancel", "redrive"})
_PROMOTING = frozenset({"lease", "look"})
_CONSTANTS = {
    "@MAX_CRASHES@": MAX_CRASHES, "@MAX_EXPIRIES@": MAX_EXPIRIES, "@MAX_HISTORY@": MAX_HISTORY,
    "@VERSION@": VERSION, "@DAMAGE@": DAMAGE,
}  # fmt: skip


@dataclass(frozen=True)
class Script:
    """A script and the digest by which the server knows it."""

    text: str
    digest: str


@cache
def script(name: str) -> Script:
    """The script of this name, ready to be sent."""
    return assembled(name, _read(CLOCK))


def assembled(name: str, clock: str) -> Script:
    """The same with another source of the time: Lua that defines `clock()`."""
    parts = [_read("prelude.lua"), _read("damage.lua"), clock]
    if name not in _READING:
        parts.append(_read("books.lua"))
    if name in _ENDING:
        parts += [_read("burying.lua"), _read("ending.lua")]
    if name in _PROMOTING:
        parts.append(_read("promote.lua"))
    parts.append(_read(f"{name}.lua"))
    text = f"#!lua{_FLAGS[name]}\n" + "\n".join(parts)
    for mark, value in _CONSTANTS.items():
        text = text.replace(mark, str(value))
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def _read(name: str) -> str:
    return (files(__package__) / "lua" / name).read_text(encoding="utf-8")
