"""What stands between this user and a database file: directories, rights, and whose they are."""

from __future__ import annotations

import os
from pathlib import Path

from portico.utils.plain_files import odd_part, oddity


def obstacle(path: Path, *, writing: bool) -> str | None:
    """Why this user cannot use a file, and the way out; `None` where nothing is to be seen.

    Args:
        path: absolute.
        writing: whether it is to be written, and made where it is missing.
    """
    directory = path.parent
    for folder in reversed(path.parents):
        if folder.exists() and not _may(folder, os.X_OK):
            return f"{_user()} may not enter the directory {folder}; give it the right to (x)"
    if not directory.is_dir():
        return f"there is no directory {directory}; create it"
    if odd := _oddity(path):
        return odd
    if path.exists() and not _may(path, os.R_OK):
        return f"{_user()} may not read the file; give it the right to"
    if not writing:
        return None
    if path.exists() and not _may(path, os.W_OK):
        return (
            f"the file is read-only for {_user()}; give it the right to write the file and its "
            "directory, where SQLite keeps its log"
        )
    if not _may(directory, os.W_OK | os.X_OK):
        return (
            f"{_user()} may not write in the directory {directory}; it must be able to write the "
            "file and its directory, where SQLite keeps its log beside the file"
        )
    return None


def _oddity(path: Path) -> str | None:
    kind = oddity(path)
    return f"{path} is {kind}; name a file" if kind else odd_part(path)


def _may(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def _user() -> str:
    return f"this user (uid {os.geteuid()})"
