"""An environment for each system, kept for the next time."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

from benchmarks.peers.catalogue import Peer
from benchmarks.peers.failure import PeerFailedError, last_line

_INSTALL = 600.0


def python_of(peer: Peer, cache: Path) -> Path:
    """The interpreter of a system's environment, which is made when it is not there yet.

    Raises:
        PeerFailedError: the system cannot be installed.
    """
    if not peer.requirements:
        return Path(sys.executable)
    folder = cache / peer.app.removesuffix("_app")
    python, mark = folder / "bin" / "python", folder / "installed"
    wanted = "\n".join((sys.version, *peer.requirements))
    if not mark.exists() or mark.read_text(encoding="utf-8") != wanted:
        venv.create(folder, clear=True, symlinks=True, with_pip=True)
        _install(python, peer.requirements)
        mark.write_text(wanted, encoding="utf-8")
    return python


def _install(python: Path, requirements: tuple[str, ...]) -> None:
    words = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    try:
        done = subprocess.run(  # noqa: S603 - of the new environment
            [*words, *requirements], check=False, capture_output=True, text=True, timeout=_INSTALL
        )
    except subprocess.TimeoutExpired:
        raise PeerFailedError(f"not installed within {_INSTALL:g} s") from None
    if done.returncode:
        raise PeerFailedError(f"not installed: {_reason(done.stderr)}", done.stderr)


def _reason(text: str) -> str:
    lines = [line for line in text.splitlines() if line.startswith("ERROR")]
    return lines[-1] if lines else last_line(text)
