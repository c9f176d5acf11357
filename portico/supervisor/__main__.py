"""`python -m portico.supervisor`."""

from portico.utils import import_path

if __name__ == "__main__":
    import_path.leave_working_directory()

# isort: split
from portico.supervisor.cli import main

if __name__ == "__main__":
    main(prog_name="python -m portico.supervisor")
