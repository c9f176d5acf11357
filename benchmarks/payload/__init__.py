"""What large payloads and results cost: bytes per second, and memory of the supervisor."""
