"""Find what only holds on one machine: absolute personal paths, addresses of package registries."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
STRAYS = {
    "a path of one machine": re.compile(r"(?<![\w.~-])/(?:home|root|work|Users|mnt)/\w"),
    "a package registry": re.compile(
        r"pypi[.]org|pythonhosted[.]org|npmjs[.](?:org|com)|--(?:extra-)?index[-]url"
    ),
}


def main() -> int:
    flaws = [flaw for path in _committed() for flaw in _flaws(path)]
    print(*flaws or ["no stray paths or addresses"], sep="\n")
    return 1 if flaws else 0


def _committed() -> list[Path]:
    """Everything that git has, or would take with `git add --all`."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    names = listing.stdout.decode().split("\0")
    return [path for name in names if name and (path := ROOT / name).is_file()]


def _flaws(path: Path) -> Iterator[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return
    for number, line in enumerate(text.splitlines(), start=1):
        for name, pattern in STRAYS.items():
            if pattern.search(line):
                yield f"{path.relative_to(ROOT)}:{number}: {name}: {line.strip()[:80]}"


if __name__ == "__main__":
    sys.exit(main())
