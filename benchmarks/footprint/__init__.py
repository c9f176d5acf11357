"""What a pool takes: memory that is shared, time to start, time to replace a worker."""
