"""Which tests a run has, and in what order: all, or with `--quick` those of a minute or two.

The quick ring has what needs no server and starts little: the rules of the stores in memory and in
SQLite, units, the seed's examples, and whatever is marked `every_python`, wherever it is.
"""

from __future__ import annotations

import pytest

FIRST = ("tests/simulation/", "tests/chaos/test_soak.py", "tests/contract/test_queue_model.py")
"""What takes minutes is begun first, for other tests to run beside it."""
QUICK = ("tests/contract/", "tests/kit/", "tests/seed/", "tests/unit/")
SERVERS = frozenset({"postgres", "redis"})
"""Fixtures that start a server."""
TOO_LONG = ("tests/contract/test_queue_model.py", "tests/contract/test_valkey.py")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="no servers, nothing slow")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith(FIRST))
    if config.getoption("quick"):
        kept = [item for item in items if is_quick(item)]
        config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
        items[:] = kept


def is_quick(item: pytest.Item) -> bool:
    """Whether the quick ring has this test."""
    if SERVERS & set(getattr(item, "fixturenames", ())) or _names_a_server(item):
        return False
    if item.get_closest_marker("every_python"):
        return True
    slow = item.get_closest_marker("slow") or item.nodeid.startswith(TOO_LONG)
    return item.nodeid.startswith(QUICK) and not slow


def _names_a_server(item: pytest.Item) -> bool:
    """Whether it is marked so, or is of a class or a parameter of one."""
    named = item.nodeid.partition("::")[2].lower()
    return bool(item.get_closest_marker("servers")) or any(name in named for name in SERVERS)
