"""How the apps start their system's own command. Standard library only."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn


def become(command: str, *arguments: object) -> NoReturn:
    """Go on as a command of this environment."""
    words = _words(command, arguments)
    os.execv(words[0], words)  # noqa: S606 - no shell is wanted


def copies(count: int, command: str, *arguments: object) -> None:
    """Run a command so many times at once, where the system leaves several processes to others."""
    words = _words(command, arguments)
    running = [subprocess.Popen(words) for _ in range(count)]  # noqa: S603 - of this environment
    for process in running:
        process.wait()


def _words(command: str, arguments: tuple[object, ...]) -> list[str]:
    return [str(Path(sys.executable).with_name(command)), *map(str, arguments)]
