"""The options of the interpreter, as they are handed on."""

from __future__ import annotations

import pytest

from portico.supervisor.interpreter import options


@pytest.mark.parametrize(
    ("line", "handed_on"),
    [
        ("-m portico.supervisor -W 2", ""),
        ("-W error -X dev -m portico.supervisor", "-W error -X dev"),
        ("-Werror -Xdev -Ximporttime=2 -m portico.supervisor", "-W error -X dev -X importtime=2"),
        ("-OOBsuqm portico.supervisor -b", "-O -O -B -s -u -q"),
        ("-bbIEPSvd -W i::UserWarning script.py -O", "-b -b -I -E -P -S -v -d -W i::UserWarning"),
        ("-iOx script.py", "-O"),
        ("-OXdev -c code", "-O -X dev"),
        ("--check-hash-based-pycs always -O -m thing", "--check-hash-based-pycs always -O"),
        ("-O - -B", "-O"),
        ("-O -- -B", "-O"),
        ("script.py -O", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_options_end_where_the_program_begins(line: str, handed_on: str) -> None:
    assert options(line.split()) == handed_on.split()
