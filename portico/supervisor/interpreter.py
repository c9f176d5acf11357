"""How this interpreter was started, for those that are started for it.

Python has `subprocess._args_from_interpreter_flags` for its own use. It leaves out `-u` and most of
what `-X` takes, and loading its module would keep the zygote waiting.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

_WITH_VALUE = "WX"
_LAST = "cm"
"""What comes after these is the program's."""
_OF_THIS_ONE = "hiVx?"
"""Help, a prompt at the end, the version, a first line that is skipped."""
_LONG_WITH_VALUE = "--check-hash-based-pycs"


def options(arguments: Sequence[str] | None = None) -> list[str]:
    """The options that the interpreter was given, such as `-W error`, `-X dev`, `-O`, `-I`.

    Those in the environment (PYTHON...) are not among them: they are inherited.

    Args:
        arguments: of the interpreter and its program, without its own name; those of this process
            unless given.
    """
    rest = iter(sys.orig_argv[1:] if arguments is None else arguments)
    found: list[str] = []
    for argument in rest:
        if not argument.startswith("-") or argument in {"-", "--"}:
            break
        if argument == _LONG_WITH_VALUE:
            found += [argument, next(rest, "")]
            continue
        for place, letter in enumerate(argument[1:], 2):
            if letter in _LAST:
                return found
            if letter in _WITH_VALUE:
                found += [f"-{letter}", argument[place:] or next(rest, "")]
                break
            if letter not in _OF_THIS_ONE:
                found.append(f"-{letter}")
    return found
