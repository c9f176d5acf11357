"""How much faster N workers are than one process, with work that needs the processor."""
