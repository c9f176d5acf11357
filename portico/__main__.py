"""`python -m portico`, the same as the `portico` command."""

from portico.cli import main

main()
