"""`python -m portico.cli`, the same as the `portico` command."""

from portico.cli import main

main()
