"""Report the sizes of modules and functions, and fail on those that have grown too long."""

from __future__ import annotations

import ast
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("portico", "benchmarks")
MAX_MODULE = 350
MAX_FUNCTION = 45


def main() -> int:
    modules = {path: _lines(path) for package in PACKAGES for path in _modules(package)}
    functions = [size for path in modules for size in _functions(path)]
    print(_summary("module", list(modules.values())))
    print(_summary("function", [length for length, _ in functions]))
    flaws = [
        f"{path.relative_to(ROOT)}: {lines} lines; a module has at most {MAX_MODULE}"
        for path, lines in modules.items()
        if lines > MAX_MODULE
    ]
    flaws += [
        f"{place}: {length} lines; a function has at most {MAX_FUNCTION}"
        for length, place in functions
        if length > MAX_FUNCTION
    ]
    print(*flaws, sep="\n", end="\n" if flaws else "")
    return 1 if flaws else 0


def _modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def _lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def _functions(path: Path) -> Iterator[tuple[int, str]]:
    """Length and place of each function; a docstring is not counted."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1 - _docstring(node)
            yield length, f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"


def _docstring(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = node.body[0]
    if ast.get_docstring(node) is None or first.end_lineno is None:
        return 0
    return first.end_lineno - first.lineno + 1


def _summary(kind: str, sizes: list[int]) -> str:
    ninth = sorted(sizes)[len(sizes) * 9 // 10]
    median = statistics.median(sizes)
    return f"{len(sizes)} {kind}s: median {median:g}, p90 {ninth}, longest {max(sizes)} lines"


if __name__ == "__main__":
    sys.exit(main())
