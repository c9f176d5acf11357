"""The `portico` command, for operators and producers."""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit; `sys.argv` when no arguments are given."""
    from portico.utils import import_path

    import_path.leave_working_directory()
    from portico.cli.command import run

    raise SystemExit(run(arguments))
