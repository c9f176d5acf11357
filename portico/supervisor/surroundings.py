"""Which variables of a supervisor's environment its workers have, too.

Theirs is the application's. What the supervisor alone was told stays with it: its own settings, how
it reaches its store, and how it talks to the service manager.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

_OURS = re.compile(r"PORTICO_(?!SMTP_)")
"""Settings, and what looks like one; but for those of the bundled examples, which workers run."""
_SECRETS = re.compile(r"PG[A-Z]+$|REDISCLI_AUTH$|CREDENTIALS_DIRECTORY$")
"""What PostgreSQL's own library and Redis' own command read, passwords among them; and where
systemd has put those of the service."""
_OF_THE_SERVICE = re.compile(r"NOTIFY_SOCKET$|WATCHDOG_|LISTEN_|FDSTORE$|MAINPID$")
"""How the process that systemd has started, and no other, talks to it."""
_KEPT = (_OURS, _SECRETS, _OF_THE_SERVICE)


def passed_on(environment: Mapping[str, str], wanted: Collection[str]) -> dict[str, str]:
    """The variables that workers have.

    Args:
        environment: the supervisor's.
        wanted: names of `--pass-env`; those that end with a star mean all that begin so.
    """
    return {
        name: value
        for name, value in environment.items()
        if not any(kept.match(name) for kept in _KEPT) or _is_wanted(name, wanted)
    }


def missed(environment: Mapping[str, str], wanted: Collection[str]) -> list[str]:
    """The names of those that workers do not have and that an application may look for."""
    kept = environment.keys() - passed_on(environment, wanted).keys()
    return sorted(filter(_SECRETS.match, kept))


def _is_wanted(name: str, wanted: Collection[str]) -> bool:
    return any(
        name.startswith(one.removesuffix("*")) if one.endswith("*") else name == one
        for one in wanted
    )
