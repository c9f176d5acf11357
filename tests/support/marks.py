"""Which ids stand in marks of the tests, such as `@pytest.mark.fault("A1")`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]


def marked(mark: str) -> list[tuple[str, str]]:
    """The ids in marks of this name, and the file of tests in which each stands."""
    return [
        (found, path.name)
        for path in sorted(TESTS.rglob("test_*.py"))
        for found in _ids(ast.parse(path.read_text(encoding="utf-8")), mark)
    ]


def _ids(tree: ast.Module, mark: str) -> Iterator[str]:
    tests = [node for node in ast.walk(tree) if isinstance(node, _FUNCTIONS)]
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(attr=name, value=ast.Attribute(attr="mark")), args=[*ids]
            ) if name == mark:
                assert any(test.name.startswith("test_") for test in tests)
                yield from (ast.literal_eval(word) for word in ids)


_FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef
