"""The security checklist: the ids that tests must cover, and the waivers.

A test says what it covers with `@pytest.mark.security("S1")`; what is required stands in its name.
"""

from __future__ import annotations

REQUIREMENTS = [f"S{number}" for number in range(1, 33)]

_NO_HOOK = "webhooks that come in: there is no such trigger yet"
_NO_PAGE = "the dashboard: there is none yet"

WAIVERS = {
    "S16": _NO_HOOK,
    "S17": _NO_HOOK,
    "S18": _NO_HOOK,
    "S19": _NO_HOOK,
    "S20": "webhooks that go out: only an example does that, which --production refuses to run",
    "S21": _NO_PAGE,
    "S22": _NO_PAGE,
    "S23": _NO_PAGE,
    "S24": _NO_PAGE,
    "S25": _NO_PAGE,
    "S26": _NO_PAGE,
    "S32": _NO_PAGE,
}

NEVER_WAIVED = {
    *(f"S{number}" for number in range(1, 16)),
    *(f"S{number}" for number in range(27, 32)),
}
