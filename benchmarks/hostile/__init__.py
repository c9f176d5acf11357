"""Workers that write whatever they can to what they share with their supervisor, and what that
costs it: the processor time of a turn of its loop, and its memory."""
