"""Where modules come from: for a process that is Portico's alone, and for the application.

Python puts the working directory first (`python -m`, `python -c`). For an application that is as it
should be. A supervisor must not look there: handlers may write there, and what they name `click.py`
would run in the supervisor when it starts again, with its rights.

Imports nothing that is not loaded in every Python by then: it is called first of all.
"""

from __future__ import annotations

import os
import sys

_HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
"""The folder that Portico comes from."""


def of_the_application() -> str:
    """The folder that an application is looked for in first; none where Python was told to look in
    none (`-P`, `-I`, `PYTHONSAFEPATH`), or where it has been removed."""
    return "" if sys.flags.safe_path else _here()


def put_first(folder: str) -> None:
    """Look for modules in this folder, if it is one, before all others."""
    if folder and sys.path[:1] != [folder]:
        sys.path.insert(0, folder)


def leave_working_directory() -> None:
    """Look for modules in the working directory no more; does nothing the second time.

    Where Portico itself comes from there, as in a checkout, or PYTHONPATH names it, it is kept, as
    the last place of all: what there is elsewhere cannot be replaced from there.
    """
    left, kept = without_working_directory()
    sys.path[:] = [entry for entry in sys.path if entry not in left] + kept


def without_working_directory() -> tuple[list[str], list[str]]:
    """Which entries leave the path, and which come last: here, and in what is started for Portico.

    Where Python was told not to look in the working directory, one that is on the path all the same
    was put there on purpose.
    """
    here = of_the_application()
    named = here == _HOME or here in os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return ["", here] if here else [""], [here] if here and named else []


def _here() -> str:
    try:
        return os.getcwd()
    except OSError:
        return ""
