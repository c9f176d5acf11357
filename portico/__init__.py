"""Background jobs for CPU-heavy Python work: durable queues, real worker processes."""

__version__ = "0.1.0"
