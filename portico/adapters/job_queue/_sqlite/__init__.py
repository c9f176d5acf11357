"""The SQLite dialect of `DatabaseJobQueueAdapter`."""
