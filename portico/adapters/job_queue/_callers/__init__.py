"""Jobs on a connection of the caller's: which kinds there are, and how each runs a statement."""
