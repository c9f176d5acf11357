"""The last output of a worker: what it printed, and the stack that its fault handler wrote."""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_OUTPUT = 4 * 1024
"""Characters of output that an attempt keeps."""
MAX_STACK = 16 * 1024

_FATAL = re.compile(r"^Fatal Python error: ", re.MULTILINE)
_STACK = re.compile(r"^(Current thread|Thread|Stack)\b.*\(most recent call first\):$", re.MULTILINE)


class Said(NamedTuple):
    """The last output of a worker, taken apart."""

    output: str
    """What was printed, the end of it."""
    stack: str
    """What the fault handler wrote; it begins with the innermost frame."""


def taken_apart(text: str) -> Said:
    """Tell what was printed from the stack that stands at its end, if there is one."""
    headings = list(_FATAL.finditer(text)) or list(_STACK.finditer(text))
    at = headings[-1].start() if headings else len(text)
    return Said(text[:at].rstrip("\n")[-MAX_OUTPUT:], text[at : at + MAX_STACK])
