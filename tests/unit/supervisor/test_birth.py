"""What a process finds of its own descriptors."""

from __future__ import annotations

import os

from portico.supervisor import birth


def test_the_descriptor_that_looks_for_the_others_is_none_of_them() -> None:
    """Its number is the next one to be given, to the first file that an application opens."""
    found = birth.open_descriptors()
    assert {0, 1, 2} <= set(found)
    for fd in found:
        os.fstat(fd)
