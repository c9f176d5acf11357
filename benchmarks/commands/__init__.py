"""One module per command: its options, what it runs in which order, and what it shows."""
