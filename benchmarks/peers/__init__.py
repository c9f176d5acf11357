"""The same no-op job through other job systems, beside Portico."""
