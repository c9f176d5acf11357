"""`python -m portico.supervisor`."""

from portico.supervisor.cli import main

if __name__ == "__main__":
    main(prog_name="python -m portico.supervisor")
